"""Readers that lag: what is queued for them when they are closed, and what they may cost."""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # compiled, and not in its stubs

from orchestrator.hub.core import Hub
from orchestrator.hub.driver import Driver
from orchestrator.hub.settings import Settings
from orchestrator.hub.unfinished import Reader
from tests.hub.rig import Rig
from tests.hub.sockets import CLOSE, Raw, frame, on_both_loops, raw_peer, server

if TYPE_CHECKING:
    import pytest

    from orchestrator.hub.server import Server


async def lagging(hub: Server, reader: Raw, sender: Raw, messages: int) -> None:
    """Send more to a peer that does not read than its socket takes, and less than it may leave waiting."""
    reader.stop_reading()
    connection = next(c for c in hub.hub.connections() if c.peer_id == "reader")
    sent = 0
    while not connection.outbox.stalled:
        sender.say({"type": "send", "to": "reader", "data": "x" * 60_000, "requestId": str(sent)})
        assert (await sender.message())["type"] == "ack"
        sent += 1
    for at in range(messages):
        sender.say({"type": "send", "to": "reader", "data": at, "requestId": "r"})
        assert (await sender.message())["type"] == "ack"
    assert connection.outbox.stalled
    assert len(connection.outbox.frames) == messages


async def read_to_the_close(reader: Raw) -> tuple[list[object], int]:
    """Return the numbers that came, and the close code."""
    numbers: list[object] = []
    while True:
        opcode, payload = await reader.read()
        if opcode == CLOSE:
            return numbers, int.from_bytes(payload[:2], "big")
        message = json.loads(payload)
        if isinstance(message.get("data"), int):
            numbers.append(message["data"])


@on_both_loops
async def test_67_a_drain_gives_a_reader_that_lags_everything_that_was_queued_before_it_closes() -> None:
    settings = Settings(drain_grace=5.0)
    async with server(settings, send_buffer=4096) as hub, raw_peer(hub.url, "reader") as reader:
        async with raw_peer(hub.url, "sender") as sender:
            await lagging(hub, reader, sender, 20)
        draining = asyncio.ensure_future(hub.drain())
        await asyncio.sleep(0)  # one turn, in which it begins
        assert hub.draining
        reader.go_on_reading()
        assert await read_to_the_close(reader) == (list(range(20)), 1001)
        reader.send(frame(CLOSE, b"\x03\xe9"))
        await draining


@on_both_loops
async def test_a_connection_that_another_continues_hands_over_what_was_queued_although_it_lags() -> None:
    async with (
        server(send_buffer=4096) as hub,
        raw_peer(hub.url, "reader", instance="1") as reader,
        raw_peer(hub.url, "sender") as sender,
    ):
        await lagging(hub, reader, sender, 20)
        async with raw_peer(hub.url, "reader", instance="1"):
            reader.go_on_reading()
            assert await read_to_the_close(reader) == (list(range(20)), 1000)


@on_both_loops
async def test_a_reader_that_is_closed_while_it_lags_and_never_reads_again_is_cut() -> None:
    settings = Settings(close_wait=0.1, drain_grace=30.0)
    async with server(settings, send_buffer=4096) as hub, raw_peer(hub.url, "reader") as reader:
        async with raw_peer(hub.url, "sender") as sender:
            await lagging(hub, reader, sender, 20)
            sender.send(frame(CLOSE, b"\x03\xe8"))
            assert await sender.close_code() == 1000
        async with asyncio.timeout(5):
            await hub.drain()


@on_both_loops
async def test_a_close_that_comes_together_with_what_it_is_closed_for_ends_the_socket_at_once() -> None:
    async with server(Settings(close_wait=30.0, drain_grace=0.5)) as hub, raw_peer(hub.url, "a", rate=None) as peer:
        broken = frame(0x0, b"a continuation of nothing")
        peer.send(broken + frame(CLOSE, b"\x03\xe8"))
        assert await peer.close_code() == 1002
        async with asyncio.timeout(5):
            await peer.ended()


@on_both_loops
async def test_a_prompt_reader_stands_a_burst_of_sixteen_large_messages() -> None:
    async with server() as hub, raw_peer(hub.url, "sender") as sender, raw_peer(hub.url, "reader") as reader:
        for number in range(48):
            sender.say({"type": "send", "to": "reader", "data": f"{number} {'x' * 65_000}"})
            if number % 16 == 15:
                for earlier in range(number - 15, number + 1):
                    assert (await reader.message())["data"].startswith(f"{earlier} ")


@on_both_loops
async def test_hazard_2_what_a_connection_is_read_into_stays_small_however_much_it_sends() -> None:
    async with server() as hub, raw_peer(hub.url, "sender") as sender:
        (peer,) = hub._peers
        for number in range(60):
            sender.say({"type": "send", "to": "nobody", "data": "x" * 60_000, "requestId": str(number)})
        for _ in range(60):
            assert (await sender.message())["type"] == "error"
        reader = peer._transport.get_protocol()
        assert isinstance(reader, Reader)
        assert len(WSProtocol.get_buffer(reader, -1)) <= 262_144


def test_a_reader_that_stalls_again_and_again_costs_one_timer() -> None:
    rig = Rig(Settings(outbox_age=5.0))
    slow = rig.connect("slow")
    assert slow.connection is not None
    before = len(rig.hub._timers._heap)
    for _ in range(200):
        slow.send(b'{"type":"ping"}')
        rig.hub.stalled(slow.connection, 1, rig.now)
        rig.advance(0.09)
        rig.hub.resumed(slow.connection, rig.now)
        rig.flush()
        rig.advance(0.01)
    assert slow.code() is None
    assert len(rig.hub._timers._heap) <= before + 2


def test_hazard_1_rosters_that_nobody_is_owed_any_more_are_not_kept_for_a_reader_that_stalls() -> None:
    rig = Rig(Settings())
    metadata = {"text": "m" * 4_000}
    for number in range(50):
        rig.connect(f"member-{number}", peer_metadata=metadata).join("crowd")
    slow = rig.connect("slow")
    assert slow.connection is not None
    slow.send(b'{"type":"ping"}')
    rig.hub.stalled(slow.connection, 1, rig.now)
    tracemalloc.start()
    try:
        for at in range(90):
            kind = "unsubscribe" if at % 3 == 2 else "subscribe"
            slow.send({"type": kind, "channel": "crowd", "requestId": "r"})
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert slow.code() is None
    assert kept < 2_000_000


@pytest.mark.one_hub("its outbox does not hold what waits for the engine")
def test_a_close_for_breaking_the_rules_drops_readers_that_this_makes_too_slow() -> None:
    """The others hear of the leave; whose outbox overflows by that is gone in the same turn."""
    rig = Rig(Settings(outbox_bytes=100))
    loud, slow = rig.connect("loud"), rig.connect("slow")
    loud.join("x")
    slow.join("x")
    assert slow.connection is not None
    rig.hub.stalled(slow.connection, 90, rig.now)
    loud.send(b" " * 70_000)
    assert loud.code() == 1009
    assert slow.code() == 1008
    assert not slow.connection.open


async def test_a_fault_in_writing_to_one_socket_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def flush(self, now: float) -> None:
            raise RuntimeError("the socket is in no state to be written to")

    class Sound:
        def __init__(self) -> None:
            self.flushed = asyncio.Event()

        def flush(self, now: float) -> None:
            self.flushed.set()

    hub = Hub(Settings())
    driver = Driver(hub, asyncio.get_running_loop())
    first, second = hub.outbox(), hub.outbox()
    sound = Sound()
    first.owner, second.owner = Broken(), sound
    first.put(b"x")
    second.put(b"x")
    with caplog.at_level(logging.ERROR):
        driver.settle()
        async with asyncio.timeout(5):
            await sound.flushed.wait()
    assert first.aborted
    assert "could not be written" in caplog.text
    driver.stop()
