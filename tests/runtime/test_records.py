from __future__ import annotations

import json

import pytest

from orchestrator.runtime.records import MAX_TRACEBACK, Assembler, Record, read_record

TIME = "2026-03-01T12:00:00.250000Z"
UNIX = 1_772_366_400.25


def line(**fields: object) -> bytes:
    return json.dumps({"time": TIME, "level": "info", "event": "taken", **fields}).encode()


def test_a_record_keeps_its_fields_but_not_what_it_says_about_its_source() -> None:
    read = read_record(line(task="8f2a", size=3, peer="somebody-else", agent="x", replica=1, process="hub"))
    assert read == Record(UNIX, "info", "taken", {"task": "8f2a", "size": 3})


def test_the_traceback_of_a_record_is_no_field() -> None:
    read = read_record(line(level="error", exception="Traceback …\nValueError"))
    assert read == Record(UNIX, "error", "taken", {}, "Traceback …\nValueError")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"{",
        b"{}",
        b'{"event": "only"}',
        b'{"time": "noon", "level": "info", "event": "x"}',
        b'{"time": "2026-03-01T12:00:00Z", "level": "loud", "event": "x"}',
        b'{"time": "2026-03-01T12:00:00Z", "level": "info", "event": 7}',
        b'["2026"]',
        b"{" * 5000,
        b'{"time": "2026-03-01T12:00:00Z", "level": "info", "event": "\xff"}',
    ],
)
def test_anything_else_is_a_raw_line(text: bytes) -> None:
    assert read_record(text) is None
    [record] = Assembler("stderr").feed(text, 5.0)
    assert record.stream == "stderr"
    assert record.time == 5.0


def test_what_is_printed_to_standard_output_is_never_a_record() -> None:
    [record] = Assembler("stdout").feed(line(), 5.0)
    assert record == Record(5.0, "info", line().decode(), stream="stdout")


TRACEBACK = [
    b"Traceback (most recent call last):",
    b'  File "app.py", line 3, in <module>',
    b"    main()",
    b"ValueError: no",
    b"",
    b"During handling of the above exception, another exception occurred:",
    b"",
    b"Traceback (most recent call last):",
    b"KeyError: 'x'",
]


def test_a_traceback_is_one_record_of_level_error() -> None:
    assembler = Assembler("stderr")
    for number, text in enumerate(TRACEBACK):
        assert assembler.feed(text, 5.0 + number) == []
        assert assembler.pending
    joined = b"\n".join(TRACEBACK).decode()
    assert assembler.flush() == [Record(5.0, "error", joined, stream="stderr")]
    assert not assembler.pending
    assert assembler.flush() == []


def test_a_record_ends_a_traceback() -> None:
    assembler = Assembler("stderr")
    assembler.feed(TRACEBACK[0], 5.0)
    raw, record = assembler.feed(line(), 6.0)
    assert (raw.event, record.event) == (TRACEBACK[0].decode(), "taken")
    assert not assembler.pending


def test_a_traceback_without_an_end_is_passed_on_in_parts() -> None:
    assembler = Assembler("stderr")
    assembler.feed(TRACEBACK[0], 5.0)
    found = [assembler.feed(b"  x", 6.0) for _ in range(MAX_TRACEBACK - 1)]
    assert [len(records) for records in found] == [0] * (MAX_TRACEBACK - 2) + [1]


def test_bytes_that_are_no_text_are_spelt_out() -> None:
    [record] = Assembler("stdout").feed(b"caf\xe9\r", 5.0)
    assert record.event == "caf\\xe9"
