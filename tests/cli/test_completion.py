"""What a shell offers while a command is typed, asked in a real one."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli.completion import SHELLS, names
from orchestrator.cli.completion_shape import commands
from orchestrator.cli.main import VERBS, main
from orchestrator.errors import ExitCode
from tests.cli.help_folder import SCRIPT
from tests.cli.terminals import plain_environment
from tests.runtime.operated import beside
from tests.runtime.processes import ROOT

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a topology in which `orchestrator` can be typed, and bash reads the script at its start."""
    path = tmp_path_factory.mktemp("shell")
    shutil.copy(ROOT / "examples.yaml", path / "farm.yaml")
    (path / "deep").mkdir()
    (path / "orchestrator").write_text(SCRIPT)
    (path / "orchestrator").chmod(0o700)
    for shell in SHELLS:
        done = subprocess.run(
            [path / "orchestrator", "completion", shell],
            env=environment(path),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        (path / f"script.{shell}").write_text(done.stdout)
    return path


def environment(folder: Path) -> dict[str, str]:
    return plain_environment(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", PS1="> ", INPUTRC="/dev/null")


ASK = """
source script.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_orchestrator
[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(folder: Path, *words: str) -> set[str]:
    """Return what bash offers for the last of these words."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", "orchestrator", *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == ""
    return set(done.stdout.splitlines())


AGENTS = {"lead", "reviewer", "narrator", "checker", "concierge"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["re"], {verb for verb in VERBS if verb.startswith("re")}),
        (["--v"], {"--version"}),
        (["run", "--until"], {"--until-idle"}),
        (["run", "--log", ""], {"console", "json"}),
        (["run", "farm.yaml", "--log-level", "w"], {"warning"}),
        (["run", "--log-dir", "de"], {"deep"}),
        (["run", "fa"], {"farm.yaml"}),
        (["run", "--var", ""], set()),
        (["run", "farm.yaml", "--only", "che"], {"checker"}),
        (["validate", "--format", "="], {"text", "json", "github"}),
        (["hub", "s"], {"serve"}),
        (["keys", "re"], {"revoke"}),
        (["keys", "new", "--pub"], {"--publishable"}),
        (["tasks", "pu"], {"purge"}),
        (["tasks", "purge", "--ol"], {"--older"}),
        (["tasks", "farm.yaml", "--queue", ""], AGENTS),
        (["export", "sys"], {"systemd"}),
        (["logs", "farm.yaml", "re"], {"reviewer"}),
        (["restart", "c"], {"checker", "concierge"}),
        (["completion", "b"], {"bash"}),
        (["no-such-verb", ""], set()),
    ],
)
def test_bash_offers_what_may_stand_there(words: list[str], expected: set[str], folder: Path) -> None:
    assert offered(folder, *words) == expected


def test_every_verb_and_every_option_of_it_is_offered(folder: Path) -> None:
    script = (folder / "script.bash").read_text()
    for command in commands():
        assert f"{' '.join(command.words)}" in script
        for option in command.options:
            for name in option.names:
                assert name in script
    assert offered(folder, "") == set(VERBS)


def test_a_key_completes_in_an_interactive_bash(folder: Path) -> None:
    end, other = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=folder,
        env=environment(folder),
        start_new_session=True,
    )
    os.close(other)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        while text not in shown:
            assert select.select([end], [], [], 10)[0], f"{text!r} never came: {shown!r}"
            shown += os.read(end, 65_536).decode()
        shown = shown.partition(text)[2]

    try:
        until("> ")
        os.write(end, b"source script.bash; complete -p orchestrator\n")
        until("complete -F _orchestrator orchestrator")
        until("> ")
        os.write(end, b"orchestrator logs farm.yaml narr\t")
        until("narrator ")
    finally:
        shell.kill()
        shell.wait(20)
        os.close(end)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_for_other_shells_can_be_read_by_them(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None and os.environ.get("CI") == "true":
        pytest.fail(f"there is no {shell} here to read its script, and CI tests everything")
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here to read its script")
    done = subprocess.run([shell, "-n", folder / f"script.{shell}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_for_other_shells_know_every_verb(shell: str, folder: Path) -> None:
    script = (folder / f"script.{shell}").read_text()
    assert all(verb in script for verb in VERBS)
    assert "orchestrator completion --words" in script


# -- names of agents


def test_names_are_those_of_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("workers: {one: {}}\nagents: {two: {}}\nusers: {three: {}}\n")
    (tmp_path / "b.yaml").write_text("coordinators: {four: {}}\n")
    assert names(["logs", "a.yaml"], tmp_path) == ["one", "two"]
    assert names(["logs"], tmp_path) == []


def test_names_are_those_of_what_runs_here(tmp_path: Path) -> None:
    for file in ("a.yaml", "b.yaml"):
        (tmp_path / file).write_text("workers: {one: {}}\n")
    with beside(tmp_path / "a.yaml", {"editor": 2, "researcher": 1}):
        assert names(["logs"], tmp_path) == ["editor", "researcher"]


@pytest.mark.parametrize("content", [b"\xff\xfe: [", b"- a\n- b\n", b"workers: 3\n", b"workers: {[a]: b}\n", b""])
def test_a_file_that_is_no_topology_has_no_names(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    assert names(["logs", "a.yaml"], tmp_path) == []


def test_a_shell_has_to_be_named(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion"])
    assert ended.value.code == ExitCode.USAGE
    assert "name a shell: bash, zsh, fish" in capsys.readouterr().err
