"""Faults as values, and what becomes of bytes under them on a clock that a test turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.testing import (
    Bandwidth,
    CloseOnFrame,
    DelayFrame,
    Down,
    DropFrame,
    DuplicateFrame,
    Latency,
    LimitData,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
)
from orchestrator.testing.faults import stream, takes_hold
from orchestrator.testing.frame_gate import FrameGate, Opening
from orchestrator.testing.lane import READ_AHEAD, End, Lane, Send, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.testing import Fault

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Latency(-1), "Latency: delay is a number of seconds of at least 0, not -1"),
    (lambda: Latency(float("nan")), "Latency: delay is a number of seconds of at least 0, not nan"),
    (lambda: Latency(1, jitter=True), "Latency: jitter is a number of seconds of at least 0, not True"),
    (
        lambda: Latency(1, direction="upsteam"),  # type: ignore[arg-type]
        "Latency: direction is one of 'upstream', 'downstream' and 'both', not 'upsteam' (did you mean 'upstream'?)",
    ),
    (lambda: Latency(1, toxicity=1.5), "Latency: toxicity is a probability from 0 to 1, not 1.5"),
    (lambda: Latency(1, connections=0), "Latency: connections is a whole number of at least 1, not 0"),
    (
        lambda: Down("refused"),  # type: ignore[arg-type]
        "Down: how is one of 'refuse', 'close' and 'reset', not 'refused' (did you mean 'refuse'?)",
    ),
    (
        lambda: Down(toxicity=0.5),
        (
            "Down: toxicity and connections choose among accepted connections, and refusing accepts none; "
            "use how='close' or how='reset'"
        ),
    ),
    (lambda: Bandwidth(0), "Bandwidth: rate is a number of bytes per second above 0, not 0"),
    (lambda: SlowClose(-0.1), "SlowClose: delay is a number of seconds of at least 0, not -0.1"),
    (lambda: Timeout(-1), "Timeout: after is a number of seconds of at least 0, not -1"),
    (lambda: Reset(-1), "Reset: after is a number of seconds of at least 0, not -1"),
    (lambda: Slicer(0), "Slicer: size is a whole number of at least 1, not 0"),
    (lambda: Slicer(5, variation=5), "Slicer: variation is below size, which is 5, not 5"),
    (lambda: LimitData(1.5), "LimitData: after is a whole number of at least 0, not 1.5"),  # type: ignore[arg-type]
    (lambda: DropFrame(nth=0), "DropFrame: nth is a whole number of at least 1, not 0"),
    (lambda: DropFrame(nth=1, every=2), "DropFrame: nth means one frame and every means many; give one of them"),
    (
        lambda: DropFrame(opcode="txt"),  # type: ignore[arg-type]
        (
            "DropFrame: opcode is one of 'continuation', 'text', 'binary', 'close', 'ping', 'pong' and 'reserved', "
            "not 'txt' (did you mean 'text'?)"
        ),
    ),
    (
        lambda: DropFrame(type="ack", opcode="ping"),
        "DropFrame: only text frames have a type; opcode is 'text' or None, not 'ping'",
    ),
    (lambda: DropFrame(probability=-1), "DropFrame: probability is a number from 0 to 1, not -1"),
    (lambda: DelayFrame(delay=-1), "DelayFrame: delay is a number of seconds of at least 0, not -1"),
    (lambda: DuplicateFrame(copies=0), "DuplicateFrame: copies is a whole number of at least 1, not 0"),
    (lambda: CloseOnFrame(how=99), "CloseOnFrame: how is 'reset', 'fin' or a close code from 1000 to 4999, not 99"),
    (
        lambda: CloseOnFrame(how="rest"),  # type: ignore[arg-type]
        "CloseOnFrame: how is one of 'reset' and 'fin', not 'rest' (did you mean 'reset'?)",
    ),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG, ids=[sentence[:40] for _, sentence in WRONG])
def test_what_cannot_be_meant_is_refused_in_a_sentence(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError) as told:
        make()
    assert str(told.value) == sentence


def lane(*faults: Fault, seed: int = 0) -> Lane:
    made = Lane(FrameGate("upstream", Opening(), {}, lambda number: stream(seed, number), lambda _: None))
    for number, fault in enumerate(faults):
        made.take_hold(number, fault, stream(seed, number), 0.0)
    return made


def run(through: Lane, now: float = 0.0, until: float = 1e9) -> list[tuple[float, bytes | End]]:
    """Let a lane do all it has to, on a clock that jumps to whatever is next; return what went out when."""
    out: list[tuple[float, bytes | End]] = []
    while True:
        step = through.step(now)
        if isinstance(step, Send):
            out.append((now, step.data))
            through.sent(len(step.data), now)
        elif isinstance(step, Wait):
            if step.until is None or step.until > until:
                return out
            assert step.until >= now
            now = step.until
        else:
            out.append((now, step))
            return out


def text(out: list[tuple[float, bytes | End]]) -> bytes:
    return b"".join(what for _, what in out if isinstance(what, bytes))


FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Latency, st.floats(0, 10), jitter=st.floats(0, 10)),
    st.builds(Bandwidth, st.floats(1, 10**6)),
    st.builds(Slicer, st.integers(2, 50), variation=st.integers(0, 1), delay=st.floats(0, 1)),
)


@given(st.lists(FAULTS, max_size=4), st.lists(st.binary(min_size=1, max_size=80), max_size=6), st.integers())
def test_no_fault_that_only_slows_loses_or_reorders_a_byte(faults: list[Fault], said: list[bytes], seed: int) -> None:
    outs = []
    for _ in range(2):
        through = lane(*faults, seed=seed)
        for second, data in enumerate(said):
            through.receive(data, float(second))
        through.receive_end("eof", "the stream ended", float(len(said)))
        outs.append(run(through, float(len(said))))
    assert outs[0] == outs[1]
    assert text(outs[0]) == b"".join(said)
    assert outs[0][-1][1] == End("eof", "the stream ended")


@given(st.floats(0, 5), st.floats(0, 5), st.integers())
def test_latency_is_within_its_jitter(delay: float, jitter: float, seed: int) -> None:
    through = lane(Latency(delay, jitter=jitter), seed=seed)
    through.receive(b"x", 100.0)
    ((when, _),) = run(through, 100.0)
    assert 100.0 + max(0.0, delay - jitter) - 1e-6 <= when <= 100.0 + delay + jitter + 1e-6


@given(st.floats(1, 10**5), st.integers(1, 3_000))
def test_bandwidth_takes_the_time_that_all_but_the_last_piece_need(rate: float, size: int) -> None:
    through = lane(Bandwidth(rate))
    through.receive(b"x" * size, 0.0)
    out = run(through)
    last = len(out[-1][1]) if isinstance(out[-1][1], bytes) else 0
    assert out[-1][0] == pytest.approx((size - last) / rate)


@given(st.integers(0, 30), st.lists(st.binary(min_size=1, max_size=8), max_size=6), st.booleans())
def test_limit_data_ends_after_just_so_many_bytes(after: int, said: list[bytes], reset: bool) -> None:
    fault = LimitData(after, reset=reset)
    through = lane(fault)
    for data in said:
        through.receive(data, 0.0)
    out = run(through)
    assert text(out) == b"".join(said)[:after]
    enough = len(b"".join(said)) >= after
    assert [what for _, what in out if isinstance(what, End)] == [
        End("reset" if reset else "fin", repr(fault))
    ] * enough


def test_a_lane_takes_in_64_kib_ahead_and_more_when_they_are_gone() -> None:
    through = lane(Timeout())
    taken = []
    while (room := through.room) > 0:
        taken.append(min(room, 10_000))
        through.receive(b"x" * taken[-1], 0.0)
    assert sum(taken) == READ_AHEAD
    assert run(through) == []
    through.let_go(0, 1.0)
    assert len(text(run(through))) == READ_AHEAD
    assert through.room == READ_AHEAD


def test_a_reset_does_not_wait_for_what_is_held_back() -> None:
    through = lane(Timeout(), Reset(3.0), Latency(1.0))
    through.receive(b"x", 0.0)
    assert run(through) == [(3.0, End("reset", repr(Reset(3.0))))]


def test_the_end_of_a_stream_is_slow_by_itself() -> None:
    through = lane(SlowClose(5.0))
    through.receive(b"x", 0.0)
    through.receive_end("eof", "", 1.0)
    assert run(through) == [(0.0, b"x"), (6.0, End("eof", ""))]


def test_two_limits_are_the_lower_one_and_two_latencies_their_sum() -> None:
    through = lane(LimitData(5), LimitData(3), Latency(1.0), Latency(2.0))
    through.receive(b"abcdef", 0.0)
    assert run(through) == [(3.0, b"abc"), (3.0, End("fin", repr(LimitData(3))))]


@given(st.integers(), st.integers(1, 9), st.integers(1, 99))
def test_chance_depends_on_seed_number_and_connection_alone(seed: int, number: int, connection: int) -> None:
    fault = Latency(1.0, toxicity=0.5)
    assert len({takes_hold(fault, seed, number, connection) for _ in range(3)}) == 1
    assert takes_hold(Latency(1.0), seed, number, connection)
    assert not takes_hold(Latency(1.0, toxicity=0.0), seed, number, connection)


def test_chance_is_the_same_in_every_process() -> None:
    taken = [connection for connection in range(1, 20) if takes_hold(Reset(toxicity=0.3), 7, 1, connection)]
    assert taken == [1, 2, 4, 5, 8, 14, 15, 16, 19]
