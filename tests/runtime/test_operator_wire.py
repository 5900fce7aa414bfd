"""The lines between a command and a run: whatever comes, it is a message or a sentence that says why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.runtime.operator_wire import (
    MAX_LINES,
    MAX_NAMES,
    MAX_REPLICAS,
    VERSION,
    Done,
    Hello,
    LogLine,
    Logs,
    Missed,
    NotUnderstood,
    ProcessUse,
    Progress,
    Ps,
    Refused,
    Reload,
    ReplicaView,
    Restart,
    RunView,
    Scale,
    Stop,
    Top,
    TopView,
    WorkCounts,
    line_for,
    line_of,
    read_answer,
    read_hello,
    read_request,
    record_of,
)
from orchestrator.runtime.records import Record, Source

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
NAMES = st.lists(TEXT, min_size=1, max_size=5).map(tuple)
REQUESTS = st.one_of(
    st.just(Ps()),
    st.just(Top()),
    st.just(Reload()),
    st.builds(Logs, NAMES, st.integers(0, MAX_LINES), st.booleans()),
    st.builds(Scale, st.dictionaries(TEXT, st.integers(0, MAX_REPLICAS), min_size=1, max_size=5)),
    st.builds(Restart, NAMES),
    st.builds(Stop, st.none() | st.floats(0, 86_400)),
)
REPLICAS = st.builds(
    ReplicaView,
    TEXT,
    TEXT,
    st.sampled_from(["here", "external", "elsewhere"]),
    st.sampled_from(["starting", "ready", "offline", "waiting", "stopping", "failed", "finished", "awaited"]),
    st.none() | st.integers(1, 2**22),
    st.none() | NUMBERS,
    st.integers(0, 2**31),
    TEXT,
    st.none() | NUMBERS,
    *[st.integers(0, 2**53)] * 5,
    TEXT,
)
RUNS = st.builds(
    RunView, TEXT, TEXT, st.integers(1, 2**22), TEXT, NUMBERS, st.booleans(), st.lists(REPLICAS, max_size=4).map(tuple)
)
COUNTS = st.integers(0, 2**53)
ANSWERS = st.one_of(
    st.builds(Done, TEXT),
    st.builds(Refused, TEXT, st.integers(0, 255)),
    st.builds(Progress, TEXT),
    st.builds(Missed, st.integers(0, 2**53)),
    RUNS,
    st.builds(
        TopView,
        RUNS,
        NUMBERS,
        st.lists(NUMBERS, max_size=3).map(tuple),
        st.dictionaries(TEXT, st.builds(WorkCounts, *[COUNTS] * 6, st.lists(COUNTS, max_size=4).map(tuple)), max_size=3),
        st.dictionaries(st.integers(1, 2**22), st.builds(ProcessUse, COUNTS, NUMBERS), max_size=3),
    ),
    st.builds(
        LogLine,
        TEXT,
        NUMBERS,
        TEXT,
        TEXT,
        st.none() | TEXT,
        st.none() | st.integers(0, 2**31),
        st.dictionaries(TEXT, JSON, max_size=4),
        TEXT,
        st.sampled_from([None, "stdout", "stderr"]),
    ),
)  # fmt: skip


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request: Any) -> None:
    line = line_of(request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_request(line) == request


@given(ANSWERS)
def test_an_answer_is_read_as_it_was_written(answer: Any) -> None:
    line = line_of(answer)
    assert line.count(b"\n") == 1
    assert read_answer(line) == answer


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_message_or_is_told(line: bytes) -> None:
    for read in (read_request, read_hello, read_answer):
        try:
            read(line)
        except NotUnderstood as error:
            assert str(error)


@given(st.fixed_dictionaries({"type": st.sampled_from(["ps", "logs", "scale", "restart", "stop", "reload"])},
                             optional={"agents": JSON, "lines": JSON, "wished": JSON, "names": JSON, "grace": JSON}))  # fmt: skip
def test_whatever_a_request_holds_it_keeps_to_its_bounds_or_is_told(fields: dict[str, Any]) -> None:
    try:
        request = read_request(json.dumps(fields).encode())
    except NotUnderstood:
        return
    match request:
        case Logs():
            assert 0 <= request.lines <= MAX_LINES
        case Scale():
            assert request.wished
            assert all(0 <= count <= MAX_REPLICAS for count in request.wished.values())
        case Restart():
            assert 0 < len(request.names) <= MAX_NAMES
        case Stop():
            assert request.grace is None or 0 <= request.grace <= 86_400


@given(REQUESTS, st.text("abc", min_size=1))
def test_a_field_that_is_not_known_is_refused_in_a_request(request: Any, name: str) -> None:
    fields = {**json.loads(line_of(request)), name: 1}
    with pytest.raises(NotUnderstood, match="unknown field"):
        read_request(json.dumps(fields).encode())


def test_a_field_that_is_not_known_is_left_alone_in_an_answer() -> None:
    assert read_answer(b'{"type":"done","sentence":"well","from":"the future"}') == Done("well")
    assert read_hello(b'{"type":"hello","version":1,"more":true}') == Hello(VERSION)


@settings(deadline=None, max_examples=40)
@given(
    st.builds(Source, TEXT, st.none() | TEXT, st.none() | st.integers(0, 99)),
    st.builds(Record, NUMBERS, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=4), TEXT, st.sampled_from([None, "stdout"])),
)  # fmt: skip
def test_a_record_is_passed_on_as_it_is(source: Source, record: Record) -> None:
    answer = read_answer(line_of(line_for(source, record)))
    assert isinstance(answer, LogLine)
    assert record_of(answer) == (source, record)


class Odd:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(
    st.text(), st.recursive(st.text() | st.integers() | st.floats() | st.binary() | st.builds(Odd), st.lists), max_size=4
))  # fmt: skip
def test_whatever_a_record_holds_a_line_can_be_made_of_it(fields: dict[str, Any]) -> None:
    line = line_of(line_for(Source("x"), Record(0.0, "info", "e", fields)))
    assert isinstance(read_answer(line), LogLine)
