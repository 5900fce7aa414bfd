"""`orchestrator tasks show`: all that is known of one task, and from what is typed to which task is meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from orchestrator.store.tasks import Tasks
from tests.cli.task_files import BROKEN, each_state, fill, new, objects, run, topology

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
AGE = re.compile(r"\b\d+(\.\d)?(ms|s|m|h)\b")
SHOWN = """\
task-twice-1  Research
  state      done since TIME (AGE ago)
  queue      researcher
  stored     TIME (AGE ago), by editor (editor.1)
  attempts   2 of 5
  worker     researcher.2
  priority   3
  requires   pdf, web
  key        bees-2026
payload
  {
    "topic": "bees"
  }
result
  {
    "pages": 3
  }
attempts
  1  researcher.1  TIME  failed after AGE
     ValueError: no such page
       look elsewhere
       at agents/newsroom.py:41 in research
  2  researcher.2  TIME  done after AGE
"""


async def twice(tasks: Tasks) -> None:
    """Store a task that is done at the second attempt."""
    from orchestrator.store.tasks import Backoff

    able = frozenset({"web", "pdf"})
    task = new("task-twice-1", key="bees-2026", priority=3, requires=able, backoff=Backoff(0.0, 0.0), origin="editor.1")
    await tasks.enqueue([task])
    (leased,) = (await tasks.claim("researcher", "researcher.1", able)).tasks
    await tasks.fail(leased.hold, BROKEN)
    (leased,) = (await tasks.claim("researcher", "researcher.2", able)).tasks
    await tasks.complete(leased.hold, b'{"pages":3}')


@pytest.fixture
def file(tmp_path: Path) -> Path:
    async def work(tasks: Tasks) -> None:
        await twice(tasks)
        await each_state(tasks)

    fill(tmp_path / "tasks.db", work)
    return topology(tmp_path)


def test_everything_is_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert AGE.sub("AGE", TIME.sub("TIME", run(capsys, "show", file, "task-twice-1"))) == SHOWN


def test_programs_get_everything(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (listed,) = [each for each in objects(run(capsys, file, "--json")) if each["id"] == "task-twice-1"]
    (found,) = objects(run(capsys, "show", file, "task-twice-1", "--json"))
    assert {name: found[name] for name in listed} == listed
    assert (found["payload"], found["payload_base64"]) == ({"topic": "bees"}, None)
    assert (found["result"], found["result_base64"]) == ({"pages": 3}, None)
    first, second = found["attempts"]
    assert first["began"] <= first["ended"] <= second["began"] <= second["ended"]
    assert [(each["number"], each["worker"], each["ending"]) for each in (first, second)] == [
        (1, "researcher.1", "failed"),
        (2, "researcher.2", "done"),
    ]
    assert first["fence"] < second["fence"]
    assert first["failure"]["frames"] == ["agents/newsroom.py:41 in research"]
    assert second["failure"] is None


@pytest.mark.parametrize(
    ("task_id", "line"),
    [
        ("task-ready-1", "attempts: none yet"),
        ("task-ready-1", r"  state      ready, due \S+ \(\d+s ago\)"),
        ("task-later-1", r"  state      ready, due \S+ \(in 23h\)"),
        ("task-leased-1", r"  state      leased, its lease ends \S+ \(in \d+m\)"),
        ("task-leased-1", r"  1  researcher\.1  \S+  under way for \d+(\.\d)?m?s"),
        ("task-cancelled-1", r"  state      cancelled since \S+ \(\d+s ago\)"),
    ],
)
def test_the_state_is_told_with_its_time(
    file: Path, capsys: pytest.CaptureFixture[str], task_id: str, line: str
) -> None:
    assert any(re.fullmatch(line, shown) for shown in run(capsys, "show", file, task_id).splitlines())


def test_a_task_that_expired_before_anybody_began_shows_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def late(tasks: Tasks) -> None:
        await tasks.enqueue([new("task-late-1", expires=0.0)])

    fill(tmp_path / "tasks.db", late)
    shown = run(capsys, "show", topology(tmp_path), "task-late-1").splitlines()
    assert "attempts: none yet" in shown
    assert shown[shown.index("error") + 1].startswith("  TaskExpired: ")


@pytest.mark.parametrize("payload", [b"\xff\x00\x1b[2J", b"{", b"NaN", b"[" * 100_000])
def test_bytes_that_are_no_json_are_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], payload: bytes
) -> None:
    async def odd(tasks: Tasks) -> None:
        await tasks.enqueue([new("task-odd-1", payload=payload)])

    fill(tmp_path / "tasks.db", odd)
    file = topology(tmp_path)
    assert f"payload\n  {len(payload)} bytes that are no JSON\n" in run(capsys, "show", file, "task-odd-1")
    (found,) = objects(run(capsys, "show", file, "task-odd-1", "--json"))
    assert found["payload"] is None
    assert found["payload_base64"]


def test_nothing_that_was_stored_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202e\x7f"

    async def steer(tasks: Tasks) -> None:
        from orchestrator.store.tasks import Failure

        payload = f'{{"text":"{evil[-3:]}"}}'.encode()
        task = new(f"task-{evil}", type=evil, key=evil, requires=frozenset({evil}), payload=payload, caller=evil)
        await tasks.enqueue([task])
        (leased,) = (await tasks.claim("researcher", evil, [evil])).tasks
        await tasks.fail(leased.hold, Failure(evil, f"{evil}\r\n{evil}", (evil,)), retry=False)

    fill(tmp_path / "tasks.db", steer)
    file = topology(tmp_path)
    printed = [run(capsys, "show", file, f"task-{evil}", *more) for more in ((), ("--json",))]
    printed += [run(capsys, file, *more) for more in ((), ("--json",))]
    printed.append(run(capsys, "retry", file, f"task-{evil}"))
    for text in printed:
        assert text.replace("\n", "").isprintable()


# -- which task is meant


def test_the_beginning_of_an_id_will_do(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "show", file, "task-twi").startswith("task-twice-1  Research\n")


@pytest.mark.parametrize(
    "words",
    [
        "show task-done-1 -f FILE",
        "show -f FILE task-done-1",
        "show FILE task-done-1",
        "FILE show task-done-1",
        "-f FILE show task-done-1",
        "show --store STORE task-done-1",
        "show task-done-1 --store STORE",
        "--store STORE show task-done-1",
    ],
)
def test_the_file_stands_before_or_after(words: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"sqlite:///{file.with_name('tasks.db')}"
    found = run(capsys, *words.replace("FILE", str(file)).replace("STORE", store).split())
    assert found.startswith("task-done-1  Research\n")


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (
            "task-twice-2",
            "there is no task task-twice-2: it was never stored, or has been purged; these begin alike: task-twice-1, ",
        ),
        ("elsewhere", "there is no task elsewhere: it was never stored, or has been purged\n"),
        (
            "task-d",
            (
                "there is no task task-d: it was never stored, or has been purged; "
                "the beginning of an ID has at least 8 characters; these begin alike: task-done-1, task-dead-1"
            ),
        ),
    ],
)
def test_an_id_that_is_not_there_is_told_with_those_that_begin_alike(
    word: str, why: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.cli.main import main

    assert main(["tasks", "show", str(file), word]) == ExitCode.FAILED
    assert capsys.readouterr().err.startswith(f"orchestrator: {why}")


def test_a_beginning_that_several_have_is_told_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def alike(tasks: Tasks) -> None:
        await tasks.enqueue([new(f"task-alike-{number}") for number in range(5)])

    fill(tmp_path / "tasks.db", alike)
    said = "orchestrator: several tasks begin with task-ali: task-alike-4, task-alike-3, task-alike-2 and more\n"
    run(capsys, "show", topology(tmp_path), "task-ali", code=ExitCode.FAILED, said=said)


def test_an_id_that_begins_another_is_meant_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def nested(tasks: Tasks) -> None:
        await tasks.enqueue([new("t"), new("task-long"), new("task-longer")])

    fill(tmp_path / "tasks.db", nested)
    file = topology(tmp_path)
    assert run(capsys, "show", file, "task-long").startswith("task-long  Research\n")
    assert run(capsys, "show", file, "t").startswith("t  Research\n")
