"""The load that measures a hub: what it counts is what came, and what is wrong with that it says."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.budget import Budget
from orchestrator.client.load.connecting import connect
from orchestrator.client.load.counter import FrameCounter
from orchestrator.client.load.course import Course, Wishes
from orchestrator.client.load.dialling import HubDialler
from orchestrator.client.load.direct import direct, round_trips
from orchestrator.client.load.fan_out import fan_out
from orchestrator.client.load.flow import Flow
from orchestrator.client.load.framing import WebSocketFraming
from orchestrator.client.load.mould import LEAST, NUMBERS, Mould, ages, place_of_time, request_number, sample
from orchestrator.client.load.run import LoadRun
from orchestrator.client.load.stream import streams
from orchestrator.client.url import parse_origin
from orchestrator.errors import ConnectionProblem, HubUnreachable, TerminalDisconnect
from orchestrator.hub import wire
from tests.hub.sockets import raw_peer, server, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.client.load.course import Part
    from orchestrator.client.load.figures import Found

SHORT: dict[str, Any] = {"warm": 0.0, "seconds": 0.05}
MOULD = Mould.around(lambda data: b'{"data":%b,"id":"%b"}' % (data, request_number), 100)


@asynccontextmanager
async def dialler() -> AsyncIterator[HubDialler]:
    async with server() as hub:
        found = HubDialler(parse_origin(hub.url), lambda name: token(name, rate="unlimited"))
        try:
            yield found
        finally:
            await found.close()


# -- the workloads


async def test_a_fan_out_reaches_every_subscriber_as_often_as_every_other() -> None:
    async with dialler() as hub:
        found = await fan_out(hub, LoadRun(), subscribers=5, window=4, **SHORT)
    assert found.span.operations > 0
    assert (found.lost, found.uneven) == (0, 0)
    assert found.latency.p50 is not None


async def test_of_direct_messages_none_is_lost() -> None:
    async with dialler() as hub:
        found = await direct(hub, LoadRun(), pairs=3, window=4, **SHORT)
    assert found.span.operations > 0
    assert found.lost == 0


async def test_a_round_trip_takes_as_long_as_both_ways() -> None:
    async with dialler() as hub:
        found = await round_trips(hub, LoadRun(), **SHORT)
    assert found.span.operations > 0
    assert found.latency.p50 is not None
    assert found.latency.p50 * found.span.operations <= found.span.seconds * 2000
    assert found.lost == 0


async def test_streams_keep_to_their_pace() -> None:
    async with dialler() as hub:
        found = await streams(hub, LoadRun(), count=2, per_second=1_000, warm=0.0, seconds=0.1)
    assert 0 < found.span.per_second <= 1_100
    assert found.lost == 0
    assert found.latency.p99 is not None


async def test_connections_are_counted_and_none_is_opened_too_many() -> None:
    async with dialler() as hub:
        found = await connect(hub, LoadRun(), connections=7, together=3)
    assert (found.span.operations, found.refused) == (7, None)


async def test_messages_of_the_largest_size_go_through() -> None:
    async with dialler() as hub:
        found = await fan_out(hub, LoadRun(), subscribers=2, window=2, size=65_536, **SHORT)
    assert found.span.operations > 0
    assert found.lost == 0


async def test_a_hub_that_limits_messages_cuts_nobody_off() -> None:
    async with server() as hub:
        limited = HubDialler(parse_origin(hub.url), token)
        await limited.open("first")
        assert limited.rate() == 100
        found = await fan_out(limited, LoadRun(), subscribers=2, window=16, warm=0.0, seconds=0.3)
        await limited.close()
    assert 0 < found.span.per_second / 2 <= 110


# -- what goes wrong


async def test_a_token_that_is_refused_is_a_terminal_end() -> None:
    async with server() as hub:
        stranger = HubDialler(parse_origin(hub.url), lambda name: f"{token(name)}x")
        with pytest.raises(TerminalDisconnect, match="4001 invalid token: check"):
            await fan_out(stranger, LoadRun(), subscribers=3, **SHORT)
        found = await connect(stranger, LoadRun(), connections=3)
        assert isinstance(found.refused, TerminalDisconnect)


async def test_where_nothing_listens_the_hub_is_unreachable() -> None:
    async with server() as hub:
        origin = parse_origin(hub.url)
    with pytest.raises(HubUnreachable):
        await HubDialler(origin, token).open("anybody")


async def test_a_channel_that_is_not_allowed_is_said() -> None:
    async with server() as hub:
        narrow = HubDialler(parse_origin(hub.url), lambda name: token(name, channels=("other/*",)))
        with pytest.raises(ConnectionProblem, match="channel_not_authorized"):
            await fan_out(narrow, LoadRun(), subscribers=1, **SHORT)
        await narrow.close()


async def test_a_connection_that_ends_meanwhile_ends_the_measurement() -> None:
    async with server() as hub:
        cut = HubDialler(parse_origin(hub.url), lambda name: token(name, rate="unlimited"))
        run = LoadRun()
        measuring = asyncio.create_task(fan_out(cut, run, subscribers=2, warm=0.0, seconds=60, channel="load/here"))
        async with raw_peer(hub.url, "beside") as beside:
            beside.say({"type": "subscribe", "channel": "load/here"})
            while (await beside.message())["type"] != "message":
                pass
            draining = asyncio.create_task(hub.drain())
            with pytest.raises(ConnectionProblem, match="1001: the hub is shutting down"):
                await measuring
        await cut.close()
        await draining


# -- one after the other


async def test_a_course_that_is_stopped_begins_nothing_more() -> None:
    told: list[Part] = []

    def tell(part: Part, _found: Found, _rate: float) -> None:
        told.append(part)
        course.stop()

    async with server() as hub:
        wishes = Wishes(connections=4, seconds=0.2, size=100, chunks_per_second=100, channel="load/course")
        course = Course(
            lambda: HubDialler(parse_origin(hub.url), lambda name: token(name, rate="unlimited")), wishes, tell
        )
        await course.go(["connect", "fan-out", "direct", "stream"])
    assert told == ["connect"]


# -- how it counts


class Rig(asyncio.Transport):
    """A counter without a socket."""

    def __init__(self, numbers: int = NUMBERS) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.why: list[str] = []
        self.frames = b""
        self.counter = FrameCounter(self, WebSocketFraming(), number_in, self.take, self.why.append, numbers=numbers)

    def take(self, count: int, frames: bytes) -> None:
        assert len(frames) == count * self.counter.size
        self.frames += frames

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


def number_in(content: bytes) -> int | None:
    frame = json.loads(content)
    return int(frame["data"]["n"]) if "data" in frame else None


def arriving(number: int) -> bytes:
    return wire.text_frame(MOULD.cast(number, number + 5))


@given(
    extra=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([b"\x89\x02hi", wire.text_frame(b'{"type":"presence"}')]))
    ),
    cuts=st.lists(st.integers(1, 400), max_size=60),
)
def test_however_frames_are_cut_and_whatever_comes_between_each_is_counted_once(
    extra: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    rig = Rig()
    frames = [arriving(number) for number in range(40)]
    sent = list(frames)
    for place, other in sorted(extra, key=lambda each: -each[0]):
        sent.insert(place, other)
    left = b"".join(sent)
    for cut in cuts:
        rig.counter.data_received(left[:cut])
        left = left[cut:]
    rig.counter.data_received(left)
    assert (rig.counter.total, rig.frames, rig.why) == (40, b"".join(frames), [])
    assert rig.written == [b"\x8a\x82\0\0\0\0hi" for _, other in extra if other.startswith(b"\x89")]


def test_a_message_that_is_missing_is_noticed() -> None:
    rig = Rig()
    rig.counter.data_received(arriving(0) + arriving(2))
    assert rig.why == ["message 2 came in the place of 1"]


def test_messages_that_come_in_whole_reads_are_looked_at_now_and_then() -> None:
    rig = Rig()
    for number in (*range(30), *range(31, 200)):
        rig.counter.data_received(arriving(number))
    assert rig.why == ["message 65 came in the place of 64"]


def test_a_message_of_another_size_is_noticed() -> None:
    rig = Rig()
    rig.counter.data_received(arriving(0) + wire.text_frame(MOULD.cast(1, 1) + b" "))
    assert "came among those of" in rig.why[0]


def test_the_end_of_a_connection_is_told_with_its_code_and_once() -> None:
    rig = Rig()
    rig.counter.data_received(wire.close_frame(1008, "slow"))
    rig.counter.connection_lost(None)
    assert rig.why == ["the hub closed a connection with 1008: slow consumer or protocol abuse"]


def test_numbers_that_begin_again_are_no_loss() -> None:
    rig = Rig(numbers=3)
    for number in range(300):
        rig.counter.data_received(arriving(number % 3))
    assert (rig.counter.total, rig.why) == (300, [])


@given(number=st.integers(0, 10**9), at=st.integers(0, 10**19 - 1), size=st.integers(LEAST, 3_000))
def test_every_message_of_a_size_has_that_size_and_says_when_it_was_made(number: int, at: int, size: int) -> None:
    frame = Mould.around(lambda data: data, size).cast(number, at)
    assert len(frame) == len(sample(size)) == size
    assert json.loads(frame)["n"] == f"{number % NUMBERS:07d}"
    assert ages(frame + frame, place_of_time(frame), size, at + 7) == [7, 7]


# -- how it sends


def flow(window: int, copies: int) -> tuple[Flow, list[int]]:
    sent: list[int] = []

    def cast(first: int, count: int) -> bytes:
        sent.extend(range(first, first + count))
        return b""

    return Flow(lambda _: None, cast, window=window, copies=copies, budget=Budget(float("inf"), 1)), sent


async def test_a_message_is_under_way_until_it_is_acked_and_everybody_has_it() -> None:
    sending, sent = flow(window=2, copies=3)
    sending.pump()
    assert sent == [0, 1]
    sending.on_delivered(3, b"")
    assert sent == [0, 1]
    sending.on_acks(1, b"")
    assert sent == [0, 1, 2]
    sending.end()
    sending.on_delivered(6, b"")
    assert not sending.done.done()
    sending.on_acks(2, b"")
    assert sending.done.done()
    assert (sent, sending.lost) == ([0, 1, 2], 0)


async def test_a_budget_that_is_used_up_is_waited_for() -> None:
    full = asyncio.Event()
    sent = 0

    def cast(_first: int, count: int) -> bytes:
        nonlocal sent
        sent += count
        if sent == 10:
            full.set()
        return b""

    sending = Flow(lambda _: None, cast, window=10, copies=1, budget=Budget(1_000_000, 1))
    sending.pump()
    assert sent == 1
    async with asyncio.timeout(5):
        await full.wait()
    sending.end()
