"""What is written on the store's socket is read there as it was, however it is cut; anything else closes it, or less."""

from __future__ import annotations

import struct
from enum import Enum
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import StoreUnavailable
from orchestrator.store import errors, wire_answers, wire_requests
from orchestrator.store.tasks import Hold, NewTask
from orchestrator.store.wire import (
    MAX_FRAME,
    BadFrame,
    BadRequest,
    Incoming,
    TooLarge,
    frames_of,
    read_answers,
    read_requests,
)
from orchestrator.store.wire_answers import Refusal, raised, refusal
from orchestrator.store.wire_requests import Complete, Enqueue, Release, Stats

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SECONDS = st.floats(0, 1e6)
TASK = st.builds(
    NewTask,
    id=TEXT.filter(bool),
    queue=TEXT.filter(bool),
    type=TEXT.filter(bool),
    payload=st.binary(max_size=20),
    caller=TEXT.filter(bool),
    origin=TEXT,
    traceparent=st.none() | TEXT,
    key=st.none() | TEXT,
    requires=st.frozensets(TEXT, max_size=3),
    priority=st.integers(-(2**31), 2**31 - 1),
    delay=SECONDS,
    expires=st.none() | SECONDS,
    timeout=st.none() | SECONDS,
    max_attempts=st.integers(1, 9),
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
    NewTask: TASK,
}


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return what makes values of an annotated type, without telling the whole session what a string is."""
    if hint in PLAIN:
        return PLAIN[hint]
    outer, inner = get_origin(hint), get_args(hint)
    if outer in (Union, UnionType):
        return st.one_of(*map(any_of, inner))
    if outer is tuple and inner[-1] is Ellipsis:
        return st.lists(any_of(inner[0]), max_size=3).map(tuple)
    if outer is tuple:
        return st.tuples(*map(any_of, inner))
    if outer is frozenset:
        return st.frozensets(any_of(inner[0]), max_size=3)
    if outer is dict:
        return st.dictionaries(any_of(inner[0]), any_of(inner[1]), max_size=3)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    fields = {name: each for name, each in get_type_hints(hint).items() if get_origin(each) is not ClassVar}
    return st.builds(hint, **{name: any_of(each) for name, each in fields.items()})


REQUEST = any_of(wire_requests.ToServer)
ANSWER = st.one_of(*(any_of(kind) for kind in get_args(wire_answers.ToClient) if kind is not Refusal))


def never(message: object, problem: Exception) -> object:
    raise AssertionError((message, problem))


def body(*messages: object) -> bytes:
    (frame,) = frames_of(messages, MAX_FRAME, never)
    (whole,) = Incoming(MAX_FRAME).feed(bytes(frame))
    return whole


@given(st.lists(REQUEST, max_size=4))
def test_requests_are_read_as_they_were_written(messages: list[Any]) -> None:
    assert read_requests(body(*messages)) == messages


@given(st.lists(ANSWER, max_size=4))
def test_answers_are_read_as_they_were_written(messages: list[Any]) -> None:
    assert read_answers(body(*messages)) == messages


ERRORS = [
    errors.LeaseLost("t1", 7, "it ended"),
    errors.UnknownTask("t1"),
    errors.TaskExists("t1"),
    errors.StoreRefused("boss.1", "list tasks", "only operators may"),
    errors.StoreFull("s.db", "has no room"),
    errors.StoreReadOnly("s.db", "cannot be written"),
    errors.StoreLocked("s.db", "is used by process 7 already", 7),
    errors.StoreLocked("s.db", "is locked"),
    errors.StoreDamaged("s.db", "is damaged"),
    errors.StoreFailing("s.db", "could not be read"),
    errors.StoreTooNew("s.db", "has version 9"),
    StoreUnavailable("the store is closed"),
    ValueError("a claim is for at least 1 task, not 0"),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_errors_arrive_as_themselves(error: Exception) -> None:
    answer = refusal(1, error)
    assert answer is not None
    (read,) = read_answers(body(answer))
    assert isinstance(read, Refusal)
    again = raised(read)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_other_errors_arrive_as_the_nearest_that_travels_or_not_at_all() -> None:
    encoding = refusal(1, UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"))
    overflow = refusal(2, OverflowError("int too big"))
    assert encoding is not None
    assert overflow is not None
    assert [type(raised(each)) for each in (encoding, overflow)] == [ValueError, ValueError]
    assert refusal(3, KeyError("x")) is None
    assert isinstance(raised(Refusal(4, ("Newer", ()))), StoreUnavailable)
    assert isinstance(raised(Refusal(4, ("LeaseLost", ()))), StoreUnavailable)


def test_an_error_that_names_what_is_no_unicode_can_be_sent() -> None:
    answer = refusal(1, errors.StoreFull("\udcff.db", "has no room"))
    assert answer is not None
    (read,) = read_answers(body(answer))
    assert isinstance(read, Refusal)
    assert "\\udcff.db" in str(raised(read))


@given(st.lists(st.binary(max_size=30), max_size=5), st.data())
def test_frames_are_found_however_the_bytes_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(struct.pack(">I", len(each)) + each for each in bodies)
    incoming, found = Incoming(30), list[bytes]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += incoming.feed(stream[:size])
        stream = stream[size:]
    assert found == bodies


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for read in (read_requests, read_answers):
        try:
            read(data)
        except BadFrame:
            continue
    try:
        list(Incoming(40).feed(data))
    except BadFrame as error:
        assert "at most 40" in str(error)


@settings(max_examples=300)
@given(REQUEST, st.data())
def test_a_request_with_a_byte_that_was_changed_is_read_or_refused(message: Any, data: st.DataObject) -> None:
    frame = bytearray(body(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read_requests(bytes(frame))
    except BadFrame:
        return


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(BadFrame):
        read_requests(b"\x91" * 100_000)


def test_a_request_that_makes_no_sense_leaves_the_others_of_its_frame_alone() -> None:
    good, bad = Stats(1), [10, 2, [["t1"]]]
    assert read_requests(body(good, bad))[0] == good
    wrong = read_requests(body(good, bad))[1]
    assert isinstance(wrong, BadRequest)
    assert wrong.number == 2


def test_what_does_not_fit_into_one_frame_goes_into_several() -> None:
    messages = [Complete(number, Hold("t", 1, "w"), b"x" * 40) for number in range(100)]
    frames = [bytes(frame) for frame in frames_of(messages, 200, never)]
    assert len(frames) > 10
    found = [message for each in Incoming(200).feed(b"".join(frames)) for message in read_requests(each)]
    assert found == messages


def test_a_message_that_cannot_be_sent_is_replaced_and_the_others_are_sent() -> None:
    told: list[tuple[int, Exception]] = []

    def instead(message: Any, problem: Exception) -> object | None:
        told.append((message.number, problem))
        return Stats(9) if message.number == 2 else None

    messages = [Stats(1), Complete(2, Hold("t", 1, "w"), b"x" * 300), Release(3, Hold("\ud800", 1, "w")), Stats(4)]
    frames = b"".join(frames_of(messages, 200, instead))
    found = [message for each in Incoming(200).feed(frames) for message in read_requests(each)]
    assert found == [Stats(1), Stats(9), Stats(4)]
    assert [number for number, _ in told] == [2, 3]
    assert isinstance(told[0][1], TooLarge)


def test_a_token_is_not_shown() -> None:
    assert "canary" not in repr(wire_requests.Hello(1, "canary"))
    assert "canary" not in str(wire_requests.Hello(1, "canary"))


def test_a_task_that_is_not_allowed_is_not_read() -> None:
    (frame,) = frames_of([[10, 5, [["", "q", "T", b"", "c"]]]], MAX_FRAME, never)
    (wrong,) = read_requests(bytes(frame[4:]))
    assert isinstance(wrong, BadRequest)
    assert isinstance(read_requests(body(Enqueue(1, ())))[0], Enqueue)
