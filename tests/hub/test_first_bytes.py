"""What a socket may begin with, and how long it may take over it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.hub.connect_gate import ConnectGate
from orchestrator.hub.settings import Settings
from tests.hub.sockets import KEY, on_both_loops, raw, server, token, upgrade

if TYPE_CHECKING:
    from orchestrator.hub.server import Server

CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))


@on_both_loops
async def test_empty_lines_before_a_request_are_no_request_and_gain_no_time() -> None:
    for start in (b"\r\n\r\n", b"\n\r\n\r\n", b"\r\n" * 50):
        async with server(Settings(handshake_timeout=0.1)) as hub, raw(hub.url) as slow:
            slow.send(start)
            await slow.ended()


@on_both_loops
async def test_an_upgrade_may_follow_empty_lines() -> None:
    async with server() as hub, raw(hub.url) as connection:
        connection.send(b"\r\n\r\n" + upgrade(f"/v1?token={token('a')}"))
        assert (await connection.head())[0] == 101
        assert (await connection.message())["type"] == "welcome"


@on_both_loops
async def test_a_tls_handshake_is_not_waited_for_longer_than_any_other() -> None:
    settings = Settings(tls_certificate=CERTIFICATE, handshake_timeout=0.1, drain_grace=0.5)
    async with server(settings) as hub, raw(hub.url) as silent:
        await silent.ended()


async def refused(hub: Server, request: bytes, before: bytes = b"") -> int:
    async with raw(hub.url) as connection:
        if before:
            connection.send(before)
            status, head = await connection.head()
            assert status == 200
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await connection.reader.readexactly(length)
        connection.send(request)
        return (await connection.head())[0]


@on_both_loops
async def test_only_a_get_of_http_1_1_becomes_a_websocket() -> None:
    wish = upgrade(f"/v1?token={token('a')}")
    healthy = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with server() as hub:
        for before in (b"", healthy):
            assert await refused(hub, wish.replace(b"GET", b"HEAD", 1), before) == 404
            assert await refused(hub, wish.replace(b"HTTP/1.1", b"HTTP/1.0", 1), before) == 400


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:127.3.2.1", "::1%lo"])
def test_13_this_machine_is_exempt_in_whatever_family_its_address_is_written(address: str) -> None:
    gate = ConnectGate(1)
    assert all(gate.admits(address, 0.0) for _ in range(3))


def test_13_an_ipv4_address_in_ipv6_clothes_is_counted() -> None:
    gate = ConnectGate(1)
    assert [gate.admits("::ffff:192.0.2.1", 0.0) for _ in range(2)] == [True, False]


@on_both_loops
async def test_78_a_body_that_is_no_body_or_breaks_off_is_no_fault_of_the_hub() -> None:
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    log, keep = logging.getLogger("orchestrator.hub"), Keep(logging.ERROR)
    log.addHandler(keep)
    try:
        async with server() as hub:
            head = f"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY.id}:{KEY.secret}\r\n"
            async with raw(hub.url) as connection:
                connection.send(f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\r\n".encode())
                connection.send(b"zz\r\nnonsense\r\n\r\n")
                assert (await connection.head())[0] == 400
            async with raw(hub.url) as connection:
                connection.send(f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
                assert (await connection.head())[0] == 100
                connection.send(b"{")
            async with raw(hub.url) as connection:
                connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await connection.head())[0] == 200
    finally:
        log.removeHandler(keep)
    assert records == []
