from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from orchestrator.protocol.tokens import SecretKey
from orchestrator.runtime.control import (
    MAX_LINE,
    MAX_UNSENT,
    ControlChannel,
    ControlError,
    Drain,
    Ending,
    Figures,
    HubSpec,
    Online,
    Ready,
    Spec,
    Standing,
    StoreSpec,
    Tally,
    ToChild,
    TokenGranted,
    TokenWanted,
    ToParent,
    decoder_of,
    encode_control,
)
from orchestrator.topology.store_access import Access
from tests.runtime.plans import planned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = SecretKey("sk_id_a", "sk_secret_canary", actions=frozenset(), rate="unlimited")

FROM_PARENT: list[ToChild] = [
    Spec(planned().replicas[0], "ws://127.0.0.1:7700", "/srv/desk", "3f", "debug", 2.5),
    HubSpec(7, (KEY,), "warning", 1.0, Standing(0, 1)),
    Standing(7, 8, ("helper.3",)),
    StoreSpec(7, "sqlite:///desk.db", "/srv/desk", (KEY,), "canary", {"a.1": Access("a", True, ("b",), ("desk",))}),
    TokenGranted(3, "a.b.c"),
    Drain(10.0),
]
FROM_CHILD: list[ToParent] = [
    TokenWanted(3),
    Ready(0.8),
    Online(online=False, detail="1006 the connection died"),
    Online(online=True),
    Ending("app:Boss has no method for Review"),
    Ending("replaced", 4020),
    Tally({"tasks done": 41}),
]


@asynccontextmanager
async def channels() -> AsyncIterator[tuple[ControlChannel[ToParent], ControlChannel[ToChild]]]:
    ours, theirs = socket.socketpair()
    parent, child = await ControlChannel.of_parent(ours), await ControlChannel.of_child(theirs)
    try:
        yield parent, child
    finally:
        await parent.close()
        await child.close()


async def test_every_message_arrives_as_it_was_sent() -> None:
    async with channels() as (parent, child):
        for down in FROM_PARENT:
            parent.send(down)
        for up in FROM_CHILD:
            child.send(up)
        await parent.close()
        assert [message async for message in child] == FROM_PARENT


async def test_what_a_child_says_before_it_closes_is_heard() -> None:
    async with channels() as (parent, child):
        for message in FROM_CHILD:
            child.send(message)
        await child.close()
        assert [message async for message in parent] == FROM_CHILD


async def test_the_end_of_the_other_side_ends_the_iteration() -> None:
    async with channels() as (parent, child):
        await child.close()
        assert [message async for message in parent] == []
        parent.send(Drain(1.0))  # nobody is there, and nothing is raised


@pytest.mark.parametrize(
    "line",
    [b"{}", b"not json", b'{"type":"spec"}', b'{"type":"ready","seconds":"soon"}', b'{"type":"drain","grace":1}'],
)
async def test_what_is_no_message_for_this_side_is_refused(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    parent = await ControlChannel.of_parent(ours)
    with theirs:
        theirs.sendall(line + b"\n")
        with pytest.raises(ControlError, match="cannot be read"):
            await anext(aiter(parent))
    await parent.close()


async def test_a_line_without_an_end_is_refused_at_its_bound() -> None:
    ours, theirs = socket.socketpair()
    parent = await ControlChannel.of_parent(ours)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()

    async def flood() -> None:
        try:
            await loop.sock_sendall(theirs, b"x" * (2 * MAX_LINE + 2))
        except ConnectionError:  # the other side had enough
            return

    flooding = asyncio.create_task(flood())
    with pytest.raises(ControlError, match=f"exceeds {MAX_LINE} bytes"):
        await anext(aiter(parent))
    await parent.close()
    await flooding
    theirs.close()


async def test_an_unfinished_last_line_is_no_message() -> None:
    ours, theirs = socket.socketpair()
    parent = await ControlChannel.of_parent(ours)
    theirs.sendall(encode_control(Ready(1.0)) + b'{"type":"rea')
    theirs.close()
    assert [message async for message in parent] == [Ready(1.0)]
    await parent.close()


async def test_a_side_that_reads_nothing_is_cut_off_instead_of_filling_memory() -> None:
    ours, theirs = socket.socketpair()
    parent = await ControlChannel.of_parent(ours)
    with theirs:
        token = TokenGranted(1, "t" * 1_000_000)
        for _ in range(3 + MAX_UNSENT // 1_000_000):
            parent.send(token)
        assert [message async for message in parent] == []
    await parent.close()


def test_secrets_do_not_show_in_messages() -> None:
    store = StoreSpec(7, "memory:", "/", (KEY,), "canary", {})
    shown = repr(HubSpec(7, (KEY,))) + str(TokenGranted(1, "canary")) + repr(store) + str(store)
    assert "canary" not in shown


@pytest.mark.parametrize(
    "figures",
    [
        '{"counts":{"chunks":-1}}',
        '{"counts":{"chunks":%s}}' % ("9" * 400),
        '{"inflight":%s}' % ("9" * 400),
        '{"capacity":-1}',
        '{"seconds":{"Work":[1' + ",1" * 98 + "]}}",
        '{"total_seconds":{"Work":1e300}}',
        '{"total_seconds":{"Work":-1}}',
    ],
)
def test_figures_that_no_sum_can_hold_are_no_message(figures: str) -> None:
    decode = decoder_of(ToParent)
    assert decode(b'{"type":"figures","counts":{"chunks":1}}') == Figures(counts={"chunks": 1})
    with pytest.raises(msgspec.ValidationError):
        decode(figures.replace("{", '{"type":"figures",', 1).encode())
