from __future__ import annotations

import json
from datetime import UTC

import pytest

from orchestrator.runtime.console import Console, render_json, shown, visible
from orchestrator.runtime.records import HUB, RUN, Record, Source

UNIX = 1_772_366_400.25
EDITOR = Source("editor", "editor")
WRITER = Source("writer.12", "writer", 12)
NAMES = [source.name for source in (RUN, HUB, EDITOR, WRITER)]

HISTORY = [
    (HUB, Record(UNIX, "info", "ready", {"pid": 41, "seconds": 0.5})),
    (WRITER, Record(UNIX + 1, "info", "task done", {"task_id": "8f2a44bb90", "file": "a b.py", "ms": 12.25})),
    (EDITOR, Record(UNIX + 2, "warning", "worker lost", {"worker": "writer.12"})),
    (WRITER, Record(UNIX + 3, "debug", "idle")),
    (
        WRITER,
        Record(UNIX + 4, "error", "task failed", {"task_id": "8f2a44bb90"}, "Traceback:\n  at x\nValueError: no\n"),
    ),
    (EDITOR, Record(UNIX + 5, "info", "hello from print", stream="stdout")),
    (EDITOR, Record(UNIX + 6, "error", "Traceback:\nKeyError", stream="stderr")),
    (RUN, Record(UNIX + 7, "info", "8 replicas ready in 1.9 s · hub ws://localhost:7700")),
]

PLAIN = """\
12:00:00.250   hub        ready  pid=41 seconds=0.5
12:00:01.250   writer.12  task done  task_id=8f2a44bb file="a b.py" ms=12.25
12:00:02.250 ! editor     worker lost  worker=writer.12
12:00:03.250   writer.12  idle
12:00:04.250 ✗ writer.12  task failed  task_id=8f2a44bb
               writer.12  │ Traceback:
               writer.12  │   at x
               writer.12  │ ValueError: no
12:00:05.250   editor     hello from print
12:00:06.250 ✗ editor     Traceback:
               editor     │ KeyError
12:00:07.250   run        8 replicas ready in 1.9 s · hub ws://localhost:7700"""


def test_for_people_prefixes_align_and_tracebacks_stay_with_who_raised_them() -> None:
    console = Console(NAMES, colours=False, zone=UTC)
    assert "\n".join(console(*said) for said in HISTORY) == PLAIN


def test_with_colours_it_says_the_same() -> None:
    console = Console(NAMES, colours=True, zone=UTC)
    coloured = "\n".join(console(*said) for said in HISTORY)
    assert console(*HISTORY[0]) == (
        "\x1b[2m12:00:00.250\x1b[0m   \x1b[1mhub      \x1b[0m  ready\x1b[2m  pid=41 seconds=0.5\x1b[0m"
    )
    plain = Console(NAMES, colours=False, zone=UTC)(RUN, Record(UNIX, "info", coloured, stream="stdout"))
    assert [text.partition("│ ")[2] for text in plain.split("\n")[1:]] == PLAIN.split("\n")[1:]


def test_replicas_of_one_agent_share_a_colour_that_others_do_not_have() -> None:
    console = Console(NAMES, colours=True, zone=UTC)

    def colour(source: Source) -> str:
        return console(source, Record(UNIX, "info", "x")).partition(source.name)[0].rpartition("\x1b")[2]

    assert colour(WRITER) == colour(Source("writer.3", "writer", 3)) != colour(EDITOR)


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\x1b[31mred\x1b[0m"),
        ("bell\x07 back\x08 cr\rx", "bell\\x07 back\\x08 cr\\rx"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("rtl\u202e", "rtl\\u202e"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_what_a_child_prints_may_be_coloured_but_does_not_steer_the_terminal(printed: str, seen: str) -> None:
    text = Console(["a"], colours=True, zone=UTC)(EDITOR, Record(UNIX, "info", printed, stream="stdout"))
    assert text.endswith(f"  {seen}")


def test_without_colours_those_of_children_are_taken_out() -> None:
    text = Console(["a"], colours=False, zone=UTC)(EDITOR, Record(UNIX, "info", "\x1b[31mred\x1b[0m", stream="stdout"))
    assert text.endswith("  red")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.12345, "0.123"),
        (2.0, "2"),
        (True, "true"),
        (None, "null"),
        ("word", "word"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("line\nbreak", '"line\\nbreak"'),
        ("esc\x1b", "esc\\x1b"),
        (["a", 1], '["a",1]'),
        ({"k": "v"}, '{"k":"v"}'),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_values_are_shown_in_one_line_of_bounded_length(value: object, text: str) -> None:
    assert shown("name", value) == text


def test_visible_spells_out_what_would_steer_a_terminal() -> None:
    assert visible("a\x00b\x9bc\u2028d\ne") == "a\\x00b\\x9bc\\u2028d\ne"


def test_for_programs_each_record_is_one_json_line() -> None:
    lines = [render_json(*said) for said in HISTORY]
    assert not any("\n" in line for line in lines)
    read = [json.loads(line) for line in lines]
    assert read[0] == {
        "time": "2026-03-01T12:00:00.250Z",
        "level": "info",
        "process": "hub",
        "event": "ready",
        "pid": 41,
        "seconds": 0.5,
    }
    assert list(read[1])[:6] == ["time", "level", "peer", "agent", "replica", "event"]
    assert (read[1]["peer"], read[1]["replica"], read[1]["task_id"]) == ("writer.12", 12, "8f2a44bb90")
    assert read[4]["exception"].endswith("ValueError: no\n")
    assert read[6] == {
        "time": "2026-03-01T12:00:06.250Z",
        "level": "error",
        "peer": "editor",
        "agent": "editor",
        "event": "Traceback:\nKeyError",
        "stream": "stderr",
    }


def test_a_field_cannot_pass_itself_off_as_the_source() -> None:
    read = json.loads(render_json(EDITOR, Record(UNIX, "info", "x", {"peer": "boss", "stream": "s"})))
    assert (read["peer"], read["stream"]) == ("editor", "s")
