"""`orchestrator dashboard` prints a link, alone, and opens it where that is asked for."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from tests.runtime.operated import beside

LINK = "http://127.0.0.1:7000/#code=once\n"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a topology that runs, whose path is short."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as name:
        monkeypatch.chdir(name)
        Path("farm.yaml").touch()
        with beside(Path("farm.yaml"), {"editor": 1}):
            yield Path(name)


@pytest.mark.parametrize("words", [[], ["farm.yaml"]])
def test_the_link_is_alone_on_stdout(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", *words]) == ExitCode.DONE
    assert capsys.readouterr() == (LINK, "")


def test_a_browser_opens_it(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "browser.py").write_text("import sys; open('opened', 'w').write(sys.argv[1])")
    monkeypatch.setenv("BROWSER", f"{sys.executable} {folder}/browser.py %s")
    monkeypatch.setattr("webbrowser._tryorder", None)  # it reads the variable once
    assert main(["dashboard", "--open"]) == ExitCode.DONE
    assert capfd.readouterr().out == LINK
    assert (folder / "opened").read_text() == LINK.strip()


def test_a_link_that_holds_a_token_is_handed_to_no_other_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestrator.cli.dashboard.link", lambda _: "https://hub.example/#token=abc")
    monkeypatch.setenv("BROWSER", f"{sys.executable} -c open('opened','w') %s")
    monkeypatch.setattr("webbrowser._tryorder", None)
    assert main(["dashboard", "--open"]) == ExitCode.FAILED
    out, err = capsys.readouterr()
    assert out == "https://hub.example/#token=abc\n"
    assert "holds a token" in err
    assert not (folder / "opened").exists()
