"""What the hub of a run answers to those who ask whether the run is ready."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.settings import Settings
from orchestrator.runtime.control import Standing
from tests.hub.sockets import CLOSE, frame, http_get, on_both_loops, raw, raw_peer, server
from tests.hub.supervised import origin, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.runtime.process import ChildProcess


@asynccontextmanager
async def hub(standing: Standing | None = None) -> AsyncIterator[tuple[ChildProcess, str]]:
    async with asyncio.timeout(20):
        with listen(parse_address("127.0.0.1:0")) as listening:
            child = await start(listening, standing)
            try:
                yield child, origin(listening)
            finally:
                child.kill()
                await child.wait()
                await child.close()


async def until(url: str, answer: tuple[int, bytes]) -> None:
    """Ask until the hub, which nothing makes say that it was told, gives this answer; the caller's timeout ends it."""
    while await http_get(url, "/readyz") != answer:
        pass


async def test_a_hub_says_of_the_run_that_it_serves_what_is_lacking() -> None:
    async with hub() as (child, url):
        assert await http_get(url, "/readyz") == (200, b"ready\n")
        child.control.send(Standing(7, 8, ("helper.3",)))
        await until(url, (503, b"7 of 8 replicas are ready; awaited: helper.3\n"))
        assert await http_get(url, "/healthz") == (200, b"ok\n")
        child.control.send(Standing(8, 8))
        await until(url, (200, b"ready\n"))


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (Standing(0, 2, ("a", "b")), b"0 of 2 replicas are ready; awaited: a, b\n"),
        (Standing(3, 100, ("a", "b")), b"3 of 100 replicas are ready; awaited: a, b and 95 more\n"),
        (Standing(0, 2), b"0 of 2 replicas are ready\n"),
    ],
)
async def test_a_hub_is_not_ready_before_it_is_told_that_its_run_is(standing: Standing, said: bytes) -> None:
    async with hub(standing) as (_, url):
        assert await http_get(url, "/readyz") == (503, said)


async def test_a_run_of_nobody_is_ready() -> None:
    async with hub(Standing(0, 0)) as (_, url):
        assert await http_get(url, "/readyz") == (200, b"ready\n")


@on_both_loops
async def test_a_head_request_gets_the_status_and_no_body() -> None:
    async with server() as serving, raw(serving.url) as connection:
        serving.unready = "7 of 8 replicas are ready"
        connection.send(b"HEAD /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status, head = await connection.head()
        assert (status, await connection.reader.read()) == (503, b"")
        assert b"server: orchestrator\r\n" in bytes(head).lower()


@on_both_loops
async def test_a_drain_is_said_before_all_else() -> None:
    async with server(Settings(drain_window=0.5, drain_rate=4, drain_grace=2.0)) as serving:
        serving.unready = "7 of 8 replicas are ready"
        async with raw_peer(serving.url, "a") as peer:
            draining = asyncio.ensure_future(serving.drain())
            assert (await peer.message())["type"] == "going_away"
            assert await http_get(serving.url, "/readyz") == (503, b"draining\n")
            assert await peer.close_code() == 1001
            peer.send(frame(CLOSE, b"\x03\xe9"))
            await draining
