"""The port: requests, upgrades and refusals (checklist 1, 5, 13, 14, 67, 68)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from orchestrator.hub.keys import KeyProblem, KeyRing
from orchestrator.hub.settings import Settings
from tests.hub.rig import PAGE_KEY
from tests.hub.sockets import CLOSE, KEY, TEXT, frame, http_get, on_both_loops, raw, raw_peer, server, token, upgrade
from tests.joined_servers import new_server

if TYPE_CHECKING:
    from collections.abc import Sequence

CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))


async def answer(url: str, request: bytes) -> int:
    async with raw(url) as connection:
        connection.send(request)
        status, _ = await connection.head()
        return status


@on_both_loops
async def test_1_tokens_and_publishable_keys_connect_on_both_loopback_families() -> None:
    for address in ("127.0.0.1:0", "[::1]:0"):
        async with server(address=address) as hub:
            for query in (f"token={token('a')}", f"key={PAGE_KEY.key}"):
                async with connect(f"{hub.url}/v1?{query}") as client:
                    assert '"welcome"' in str(await client.recv())


@on_both_loops
async def test_5_refused_credentials_get_their_websocket_and_then_the_code_without_any_frame() -> None:
    async with server() as hub:
        for query in ("", "?", "?token=garbage", f"?token={token('a')}x", "?key=pk_live_unknown", "?key=a&token=b"):
            async with raw(hub.url) as connection:
                connection.send(upgrade(f"/v1{query}"))
                assert (await connection.head())[0] == 101
                opcode, payload = await connection.read()
                assert (opcode, payload) == (CLOSE, b"\x0f\xa1invalid token")


@on_both_loops
async def test_a_refusal_is_not_lost_to_what_the_client_goes_on_sending() -> None:
    async with server() as hub, raw(hub.url) as connection:
        connection.send(upgrade("/v1?token=garbage"))
        assert (await connection.head())[0] == 101
        for _ in range(20):
            connection.send(frame(TEXT, b'{"type":"ping"}' * 1000))
        assert await connection.close_code() == 4001
        connection.send(frame(CLOSE, b"\x0f\xa1"))
        assert await connection.ended()


@on_both_loops
async def test_browsers_may_name_more_than_the_upgrade_in_their_connection_header() -> None:
    async with server() as hub, raw(hub.url) as connection:
        connection.send(upgrade(f"/v1?token={token('a')}", "Origin: http://x", connection="keep-alive, Upgrade"))
        assert (await connection.head())[0] == 101
        assert (await connection.message())["peerId"] == "a"


@on_both_loops
async def test_an_upgrade_may_come_on_a_connection_that_carried_other_requests() -> None:
    async with server() as hub, raw(hub.url) as connection:
        for path in ("/healthz", "/v1", "/nothing"):
            connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            _, head = await connection.head()
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await connection.reader.readexactly(length)
        connection.send(upgrade(f"/v1?token={token('a', metadata={'x': 'y' * 8000})}"))
        assert (await connection.head())[0] == 101
        assert (await connection.message())["peerId"] == "a"
        connection.say({"type": "ping", "requestId": "1"})
        assert await connection.message() == {"type": "pong", "requestId": "1"}
        connection.send(frame(CLOSE, b"\x03\xe8"))
        assert await connection.close_code() == 1000
        assert await connection.ended()
        assert list(hub.hub.connections()) == []


@on_both_loops
async def test_claims_at_their_caps_fit_and_longer_requests_are_refused() -> None:
    largest = token(
        "a",
        channels=tuple(f"{n:03}" + "c" * 20 for n in range(100)),
        metadata={"x": "m" * 8_180},
        peer_metadata={"x": "p" * 4_080},
    )
    assert len(largest) > 17_000
    async with server() as hub:
        assert await answer(hub.url, upgrade(f"/v1?token={largest}")) == 101
        assert await answer(hub.url, upgrade(f"/v1?token={'x' * 24_560}")) == 101
        assert await answer(hub.url, upgrade(f"/v1?token={'x' * 24_600}")) == 414
        assert await answer(hub.url, upgrade("/v1?token=x", "X: " + "y" * 32_400)) == 101
        assert await answer(hub.url, upgrade("/v1?token=x", "X: " + "y" * 32_800)) == 431
        assert await answer(hub.url, b"GET /" + b"x" * 40_000) == 414
        assert await answer(hub.url, b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 40_000) == 431


@on_both_loops
async def test_requests_that_are_no_honest_upgrade_are_refused_by_http() -> None:
    good = f"/v1?token={token('a')}"
    async with server() as hub:
        for request, status in (
            (upgrade(good, "Transfer-Encoding: chunked"), 400),
            (upgrade(good, "Content-Length: 5"), 400),
            (upgrade(good, "Host: other"), 400),
            (upgrade(good, "Origin: a", "Origin: b"), 400),
            (upgrade(good, "Sec-WebSocket-Key: AAAA"), 400),
            (upgrade(good, "Bad Name: x"), 400),
            (upgrade(good, " folded: x"), 400),
            (upgrade(good, version="8"), 426),
            (upgrade(good, connection="keep-alive"), 426),
            (upgrade(good) + frame(TEXT, b'{"type":"ping"}'), 400),
            (upgrade(good).replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
            (upgrade("/v2"), 404),
            (upgrade("/v1/"), 404),
            (upgrade(good).replace(b"GET", b"POST"), 404),
            (f"GET {good} HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".encode(), 426),
        ):
            assert await answer(hub.url, request) == status, request
        assert list(hub.hub.connections()) == []


@on_both_loops
async def test_the_http_side_says_how_it_is() -> None:
    async with server() as hub:
        assert await http_get(hub.url, "/healthz") == (200, b"ok\n")
        assert await http_get(hub.url, "/readyz") == (200, b"ready\n")
        assert await http_get(hub.url, "/nothing") == (
            404,
            b'{"error": "not_found", "message": "there is no such route"}',
        )
        assert (await http_get(hub.url, "/v1"))[0] == 426


@pytest.mark.one_hub("the limit is that of one hub")
@on_both_loops
async def test_13_attempts_beyond_the_limit_get_429_before_their_credential_is_looked_at() -> None:
    async with server(Settings(connects_per_minute=2, limit_loopback=True, drain_grace=0.5)) as hub:
        statuses = [await answer(hub.url, upgrade("/v1?token=x")) for _ in range(3)]
        assert statuses == [101, 101, 429]
        assert (await http_get(hub.url, "/healthz"))[0] == 200


@on_both_loops
async def test_half_a_request_is_not_waited_for_longer_than_the_handshake_may_take() -> None:
    async with server(Settings(handshake_timeout=0.1)) as hub, raw(hub.url) as slow, raw(hub.url) as silent:
        slow.send(upgrade("/v1?token=x")[:-2])
        await slow.ended()
        await silent.ended()


@on_both_loops
async def test_too_many_half_requests_push_out_the_oldest() -> None:
    async with server(Settings(max_waiting=2)) as hub, raw(hub.url) as oldest:
        oldest.send(b"GET ")
        async with raw(hub.url), raw(hub.url), raw(hub.url):
            await oldest.ended()
            assert (await http_get(hub.url, "/healthz"))[0] == 200


@on_both_loops
async def test_67_a_drain_says_goodbye_refuses_upgrades_with_503_and_ends_in_time() -> None:
    async with server(Settings(drain_window=0.5, drain_rate=4, drain_grace=2.0)) as hub:
        async with raw_peer(hub.url, "a") as first, raw_peer(hub.url, "b") as second:
            draining = asyncio.ensure_future(hub.drain())
            for peer in (first, second):
                assert await peer.message() == {"type": "going_away", "retryAfterMs": 1000}
            assert await answer(hub.url, upgrade(f"/v1?token={token('c')}")) == 503
            assert (await http_get(hub.url, "/readyz"))[0] == 503
            for peer in (first, second):
                assert await peer.close_code() == 1001
                peer.send(frame(CLOSE, b"\x03\xe9"))
                assert await peer.ended()
            await draining
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await answer(hub.url, upgrade("/v1"))


@on_both_loops
async def test_67_a_client_that_ignores_the_close_does_not_hold_up_the_drain() -> None:
    async with server(Settings(drain_grace=0.2)) as hub, raw_peer(hub.url, "a") as deaf:
        await hub.drain()
        assert await deaf.close_code() == 1001


@on_both_loops
async def test_a_revoked_key_closes_what_is_open_and_what_comes() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        hub.rekey(KeyRing([], [PAGE_KEY]))
        assert await peer.close_code() == 4001
        async with raw(hub.url) as late:
            late.send(upgrade(f"/v1?token={token('b')}"))
            assert (await late.head())[0] == 101
            assert await late.close_code() == 4001


@on_both_loops
async def test_tls_serves_the_same_protocol() -> None:
    context = ssl.create_default_context(cafile=CERTIFICATE)
    async with server(Settings(tls_certificate=CERTIFICATE, drain_grace=0.5)) as hub:
        assert hub.url.startswith("wss://")
        async with (
            connect(f"{hub.url}/v1?token={token('a')}", ssl=context) as a,
            connect(f"{hub.url}/v1?token={token('b')}", ssl=context) as b,
        ):
            await a.recv()
            await b.recv()
            await a.send('{"type":"send","to":"b","data":"' + "x" * 65_000 + '"}')
            assert len(await b.recv()) > 65_000
            await a.send("[" * 70_000)
            with pytest.raises(ConnectionClosed) as closed:
                await a.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


async def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.pem", Path(__file__)):
        with pytest.raises(KeyProblem, match=file.name):
            async with server(Settings(tls_certificate=str(file))):
                pass


async def test_14_no_log_line_and_no_answer_holds_a_credential(caplog: pytest.LogCaptureFixture) -> None:
    canary = token("canary", metadata={"x": "canary-" * 1100})
    secrets: Sequence[str] = (canary, canary[:40], PAGE_KEY.key)
    answers = b""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "websockets.client")  # the other side, which may see the credential
    async with server() as hub:
        async with connect(f"{hub.url}/v1?token={canary}") as client:
            await client.recv()
            await client.send("nonsense")
        for request in (
            upgrade(f"/v1?token={canary}x"),
            upgrade(f"/v1?token={canary}&key={PAGE_KEY.key}"),
            upgrade(f"/v1?token={canary}", "Content-Length: 5"),
            upgrade(f"/v2?token={canary}"),
            f"GET /v1?token={canary} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            f"BREW /healthz?token={canary} HTTP/9.9\r\nHost: x\r\n\r\n".encode(),
        ):
            async with raw(hub.url) as connection:
                connection.send(request)
                connection.writer.write_eof()
                answers += await connection.reader.read(65_536)
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("websockets"))
    for secret in secrets:
        assert secret not in ours
        assert secret.encode() not in answers


@on_both_loops
async def test_small_frames_are_not_held_back_for_more_to_come() -> None:
    async with server() as hub, raw_peer(hub.url, "a"):
        (peer,) = hub._peers
        connected = peer._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@on_both_loops
async def test_nor_are_they_where_the_socket_that_listens_does_not_say_what_it_is() -> None:
    """asyncio sees to it only for sockets that name their protocol, and those of `create_server` do not."""
    running = new_server(KeyRing([KEY], []), Settings(drain_grace=0.5))
    await running.start(socket.create_server(("127.0.0.1", 0)))
    try:
        async with raw_peer(running.url, "a"):
            (peer,) = running._peers
            connected = peer._transport.get_extra_info("socket")
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    finally:
        await running.drain()


@on_both_loops
async def test_the_answer_to_an_upgrade_and_the_welcome_are_one_write() -> None:
    async with server() as hub, raw(hub.url) as client:
        client.send(upgrade(f"/v1?token={token('a')}"))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert bytes(client.reader._buffer).endswith(b"}")  # type: ignore[attr-defined]
