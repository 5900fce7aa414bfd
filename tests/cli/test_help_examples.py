"""Every verb's `--help` ends with examples, and every one of them works as it stands."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from typing import Final

import pytest

from orchestrator.cli import tasks
from orchestrator.cli.example_text import examples_of
from orchestrator.cli.main import VERBS, main
from orchestrator.errors import ExitCode
from tests.cli.help_folder import Folder, help_folder
from tests.cli.terminals import control_codes

LASTS: Final = (
    (r"run (?!.*(--ask|--until-idle|-d\b|--detach))", r"\d+ replicas ready", "interrupt"),
    (r"hub serve ", r'ready at|"url"', "interrupt"),
    (r"logs (.* )?(-f|-F|--follow)\b", r'"event"', "interrupt"),
    (r"tasks .*--watch", r"1 ready", "interrupt"),
    (r"ps .*--watch", r"reviewer\.1", "interrupt"),
    (r"who .*--watch", r"reviewer", "interrupt"),
    (r"top (?!.*--once).*--json", r"reviewer", "interrupt"),
    (r"chat\b", r".", "close_input"),
    (r"replay (?!.*--check)", r"http", "interrupt"),
)
"""Commands that go on until they are ended: what they print once they work, and how they are ended."""
LIVE: Final = {
    "ps",
    "logs",
    "scale",
    "restart",
    "reload",
    "top",
    "ask",
    "chat",
    "send",
    "publish",
    "dispatch",
    "who",
    "dashboard",
}
"""Verbs that need a run of the tour. `stop` has one of its own."""
DETACHES: Final = re.compile(r"run .*(-d\b|--detach)")
IN_SHELL: Final = re.compile(r"[|>&$]")
"""What `main` cannot do by itself in this process."""


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"orchestrator {verb}")
    importlib.import_module(f"orchestrator.cli.{VERBS[verb].module}").arguments(verb, parser)
    return parser


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each verb, and of each that follows one."""
    found: dict[str, argparse.ArgumentParser] = {}
    for verb in VERBS:
        found[verb] = parser_of(verb)
        for action in found[verb]._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= {f"{verb} {name}": parser for name, parser in action.choices.items()}
    for command, add in tasks.COMMANDS.items():
        found[f"tasks {command}"] = argparse.ArgumentParser()
        add(found[f"tasks {command}"])
    return found


PARSERS: Final = parsers()
LONG: Final = frozenset({"ask", "bench", "chat", "dispatch", "run", "top", "who"})
"""Verbs whose examples take seconds, and are much like what the tests of these verbs do."""


@pytest.mark.parametrize("words", PARSERS)
def test_every_verb_has_an_example(words: str) -> None:
    shown = examples_of(PARSERS[words])
    assert shown, f"orchestrator {words} --help shows no example"
    for line in shown:
        assert re.search(rf"\borchestrator {words.removesuffix(' list')}\b", line), f"not about {words!r}: {line}"


@pytest.mark.parametrize("words", ["token inspect", "export compose", "export k8s", "export systemd"])
def test_what_is_no_verb_of_its_own_is_among_the_examples_of_its_verb(words: str) -> None:
    assert any(f"orchestrator {words}" in line for line in examples_of(PARSERS[words.split()[0]]))


@pytest.mark.parametrize("words", ["ps", "keys new", "tasks purge", "tasks"])
def test_examples_stand_one_a_line_at_the_end_of_the_help(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        main([*words.split(), "--help"])
    printed = capsys.readouterr().out
    assert printed.endswith("\nexamples:\n" + "".join(f"  {line}\n" for line in examples_of(PARSERS[words])))


# -- each of them is tried


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    with help_folder() as found:
        yield found


@pytest.fixture(scope="module")
def tour(folder: Folder) -> Iterator[None]:
    with folder.lasting("orchestrator run examples.yaml", "replicas ready") as lasting:
        yield
        assert lasting.interrupt() == ExitCode.DONE


@pytest.fixture(scope="module")
def hub(folder: Folder) -> Iterator[str]:
    """The URL of a hub with the keys of the folder."""
    (folder.path / "hub.yaml").touch(mode=0o600)
    (folder.path / "hub.yaml").write_text((folder.path / "keys.yaml").read_text())
    with folder.lasting("orchestrator hub serve --keys hub.yaml --listen 127.0.0.1:0", "ready at (ws://[^ ]*)") as it:
        found = re.search(r"ws://[^ ]*", it.printed[-1])
        assert found is not None
        yield found[0]
        assert it.interrupt() == ExitCode.DONE


def lines_of(verb: str) -> list[str]:
    """Return the examples of a verb and of those that follow it, each once."""
    own = [parser for words, parser in PARSERS.items() if words.split()[0] == verb]
    return list(dict.fromkeys(line for parser in own for line in examples_of(parser)))


@pytest.mark.shows_secrets("tokens and keys are what some commands print")
@pytest.mark.parametrize(
    "verb",
    [pytest.param(verb, marks=pytest.mark.bars) if verb in LONG else verb for verb in VERBS if verb != "stop"],
)
def test_every_example_works(verb: str, folder: Folder, request: pytest.FixtureRequest) -> None:
    if verb in LIVE:
        request.getfixturevalue("tour")
    for line in lines_of(verb):
        if DETACHES.search(line):  # the next test has that
            continue
        folder.fresh()
        if verb == "tasks":
            folder.fill_store()
        typed = line.replace("127.0.0.1:7700", "127.0.0.1:0")
        if verb == "bench":
            typed = typed.replace("ws://localhost:7700", request.getfixturevalue("hub"))
        tried(typed, folder, request)


def tried(line: str, folder: Folder, request: pytest.FixtureRequest) -> None:
    words = line.removeprefix("orchestrator ")
    for lasts, proof, end in LASTS:
        if re.match(lasts, words):
            with folder.lasting(line, proof) as lasting:
                assert getattr(lasting, end)() == ExitCode.DONE, "".join(lasting.printed)
            assert not control_codes("".join(lasting.printed)), line
            return
    if IN_SHELL.search(line) or VERBS[words.split()[0]].lasts:
        done = folder.shell(line)
        assert done.returncode == ExitCode.DONE, f"{line}: {done.stderr}"
        assert not control_codes(done.stdout + done.stderr), line
        return
    capture: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.chdir(folder.path)
    patch.setenv("HUB_KEY", folder.environ["HUB_KEY"])
    code = main(shlex.split(words, comments=True))
    printed = capture.readouterr()
    assert code == ExitCode.DONE, f"{line}: {printed.err}"
    assert not control_codes(printed.out + printed.err), line


@pytest.mark.bars
def test_every_example_of_stop_ends_a_run_in_the_background() -> None:
    [begin] = [line for line in lines_of("run") if DETACHES.search(line)]
    with help_folder() as folder:
        for line in lines_of("stop"):
            begun = folder.shell(begin)
            assert begun.returncode == ExitCode.DONE, begun.stderr
            ended = folder.shell(line)
            assert (ended.returncode, ended.stderr) == (ExitCode.DONE, "")
            assert re.fullmatch(r"topology\.yaml: process \d+ has ended\n", ended.stdout)
