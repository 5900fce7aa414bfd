"""`orchestrator hub serve --backplane`: where its address may come from, and that no credential is an argument."""

from __future__ import annotations

import argparse
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli import backplane
from orchestrator.cli.backplane import VARIABLE, BackplaneUsage
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from tests.brokers import needs_client

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = "nats://127.0.0.1:4222/news"
SECRET = "nats://me:hunter2@127.0.0.1:1/news"


def given(*words: str, environ: dict[str, str] | None = None) -> str | None:
    parser = argparse.ArgumentParser()
    backplane.arguments(parser)
    return backplane.given(parser.parse_args(words), environ or {})


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "backplane.txt"
    file.touch(mode)
    file.chmod(mode)
    file.write_text(text)
    return str(file)


def test_it_comes_from_an_option_a_file_or_the_variable(tmp_path: Path) -> None:
    assert given() is None
    assert given("--backplane", PLAIN) == PLAIN
    assert given("--backplane-file", written(tmp_path, f"{SECRET}\n")) == SECRET
    assert given(environ={VARIABLE: SECRET}) == SECRET
    assert given("--backplane", PLAIN, environ={VARIABLE: SECRET}) == PLAIN, "what was typed goes first"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--backplane", SECRET), "everybody on this machine can read the arguments of a command"),
        (("--backplane", PLAIN, "--backplane-file", "x"), "say the same in two ways"),
        (("--backplane", "broker"), "--backplane: this is not the address of a backplane; one looks like nats://"),
        (("--backplane-file", "missing/file"), "--backplane-file: missing/file: no such file or directory"),
    ],
)
def test_what_cannot_be_used_is_told_without_a_credential(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BackplaneUsage) as caught:
        given(*words)
    assert sentence in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_credential_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackplaneUsage, match="everybody may read this file"):
        given("--backplane-file", written(tmp_path, SECRET, 0o644))
    assert given("--backplane-file", written(tmp_path, PLAIN, 0o644)) == PLAIN


def test_an_engine_that_is_no_backplane_ends_the_hub_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_client("nats", "nats-py")
    keys = str(tmp_path / "keys.yaml")
    with redirect_stdout(StringIO()):
        assert main(["keys", "new", "--keys", keys]) == ExitCode.DONE
    monkeypatch.setenv(VARIABLE, "nast://me:hunter2@127.0.0.1:1")
    assert main(["hub", "serve", "--keys", keys, "--listen", "127.0.0.1:0"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "orchestrator: nast:// is no backplane (did you mean 'nats'?)" in said
    assert "hunter2" not in said
