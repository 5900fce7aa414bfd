"""What attackers try on the control plane (hazards 28, 35, 40, 41, 43, 44, 45)."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import Action
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from tests.hub.rest_client import Api, control_plane
from tests.hub.rig import PAGE_KEY, Rig
from tests.hub.sockets import KEY, Raw, on_both_loops, raw, raw_peer, upgrade

SHOP = SecretKey("sk_id_shop", "sk_secret_" + "s" * 32, app="shop")
SHOP_AGAIN = SecretKey("sk_id_shop2", "sk_secret_" + "t" * 32, app="shop")
BOTH = KeyRing([KEY, SHOP, SHOP_AGAIN], [PAGE_KEY])


async def welcomed(peer: Raw, minted: str) -> dict[str, Any]:
    peer.send(upgrade(f"/v1?token={minted}"))
    assert (await peer.head())[0] == 101
    return await peer.message()


async def subscribed(peer: Raw, channel: str) -> None:
    peer.say({"type": "subscribe", "channel": channel, "requestId": "s"})
    assert (await peer.message())["type"] == "ack"
    assert (await peer.message())["type"] == "presence"


@on_both_loops
async def test_hazard_35_a_kick_and_a_revocation_cut_live_connections_within_a_second() -> None:
    async with control_plane(keys=BOTH) as api, raw(api.hub.url) as kicked, raw(api.hub.url) as revoked:
        await welcomed(kicked, (await api.mint("a", SHOP)).body["token"])
        await welcomed(revoked, (await api.mint("b", SHOP)).body["token"])
        async with asyncio.timeout(1.0):
            assert (await api.kick("a", SHOP)).body["closed"] == 1
            assert await kicked.close_code() == 4020
        async with asyncio.timeout(1.0):
            api.hub.rekey(KeyRing([KEY]))
            assert await revoked.close_code() == 4001


@pytest.mark.one_hub("the usage of other hubs is known two seconds later")
@on_both_loops
async def test_hazard_35_while_two_key_ids_overlap_a_rotation_drops_nobody() -> None:
    async with control_plane(keys=KeyRing([SHOP])) as api, raw(api.hub.url) as old, raw(api.hub.url) as new:
        await welcomed(old, (await api.mint("a", SHOP)).body["token"])
        api.hub.rekey(KeyRing([SHOP, SHOP_AGAIN]))
        await welcomed(new, (await api.mint("a", SHOP_AGAIN)).body["token"])
        old.say({"type": "send", "to": "a", "data": 1})
        assert (await new.message())["type"] == "direct"
        assert (await old.message())["type"] == "direct"
        api.hub.rekey(KeyRing([SHOP_AGAIN]))
        assert await old.close_code() == 4001
        assert (await api.usage(SHOP_AGAIN))["concurrentNow"] == 1


@on_both_loops
async def test_hazard_40_what_a_key_may_not_do_is_refused_alike_whether_or_not_there_is_somebody() -> None:
    only = SecretKey("sk_id_only", "sk_secret_" + "o" * 32, channels=("mine/*",), actions=frozenset({Action.SEND}))
    async with control_plane(keys=KeyRing([KEY, only])) as api, raw_peer(api.hub.url, "a") as a:
        await subscribed(a, "mine/full")
        await subscribed(a, "theirs/full")
        for ask in (api.peers, lambda path, key: api.publish(path, key, data=1)):
            for name in ("mine", "theirs"):
                full, empty = await ask(f"{name}/full", only), await ask(f"{name}/empty", only)
                assert full.error == (403, "action_not_permitted")
                assert (full.status, full.raw) == (empty.status, empty.raw)
        a.say({"type": "ping"})
        assert await a.message() == {"type": "pong"}


@pytest.mark.one_hub("the usage of other hubs is known two seconds later")
@on_both_loops
async def test_hazard_41_the_keys_of_one_app_see_and_reach_nothing_of_another() -> None:
    async with control_plane(keys=BOTH) as api, raw_peer(api.hub.url, "same") as ours, raw(api.hub.url) as theirs:
        await welcomed(theirs, (await api.mint("same", SHOP)).body["token"])
        await subscribed(ours, "same")
        for key, app, connections in ((KEY, "default", 1), (SHOP, "shop", 1)):
            usage = await api.usage(key)
            assert (usage["appId"], usage["concurrentNow"], usage["messagesUsed"]) == (app, connections, 0)
        assert (await api.peers("same", SHOP)).body["peers"] == []
        assert (await api.publish("same", SHOP, data="secret", id="1")).body["delivered"] == 0
        assert (await api.publish("same", KEY, data="ours", id="1")).body["delivered"] == 1
        assert (await ours.message())["data"] == "ours"
        assert (await api.usage(KEY))["messagesUsed"] == 1
        assert (await api.kick("same", SHOP)).body["closed"] == 1
        assert await theirs.close_code() == 4020
        ours.say({"type": "ping"})
        assert await ours.message() == {"type": "pong"}


def test_hazard_41_no_message_crosses_over_in_twenty_thousand_random_acts_of_two_apps() -> None:
    """Every text that an app's peers send begins with the app's name, and so does each that they receive."""
    rig, rng = Rig(Settings(snapshot_gap=0.0), KEY, SHOP), random.Random(41)
    peers = [
        rig.connect(sub, key=key, peer_metadata={"app": key.app}) for key in (KEY, SHOP) for sub in ("a", "b", "c")
    ]
    apps = ["default"] * 3 + ["shop"] * 3
    for step in range(20_000):
        at = rng.randrange(6)
        peer, name = peers[at], rng.choice(("x", "y", "x/*", "**"))
        kind = rng.choice(("subscribe", "unsubscribe", "publish", "send"))
        fields: dict[str, Any] = {"type": kind, "channel": name, "to": rng.choice("abcd"), "data": apps[at]}
        if kind == "publish":
            fields["channel"] = rng.choice(("x", "y", "x/1"))
            fields["id"] = str(rng.randrange(5_000))
        peer.send(fields)
        if step % 50 == 0:
            rig.advance(1.0)
    seen = 0
    for app, peer in zip(apps, peers, strict=True):
        assert peer.code() is None
        for frame in peer.all():
            if frame["type"] in ("message", "direct"):
                assert frame["data"] == app
                seen += 1
            for entry in frame.get("joined", ()):
                assert entry["metadata"] == {"app": app}
    assert seen > 10_000


@on_both_loops
async def test_hazard_43_what_a_client_says_of_its_own_name_and_metadata_is_not_passed_on() -> None:
    async with control_plane() as api, raw_peer(api.hub.url, "a") as a, raw_peer(api.hub.url, "b") as b:
        a.say({"type": "subscribe", "channel": "x", "requestId": "s", "includeSenderMetadata": True})
        assert (await a.message())["type"] == "ack"
        assert (await a.message())["type"] == "presence"
        forged = {"from": "boss", "fromMetadata": {"k": 1}, "peerMetadata": {"k": 1}, "metadata": {"k": 1}}
        b.say({"type": "publish", "channel": "x", "data": 1, **forged})
        assert await a.message() == {"type": "message", "channel": "x", "from": "b", "data": 1}
        b.say({"type": "send", "to": "a", "data": 2, **forged})
        assert await a.message() == {"type": "direct", "from": "b", "data": 2}


@on_both_loops
async def test_hazard_44_pages_of_other_origins_get_no_answer_that_they_could_read() -> None:
    async with control_plane(keys=BOTH) as api:
        own = api.hub.http_url
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1", own + ".evil.example", "", own + "/"):
            for method, path, body in (
                ("GET", "/v1/usage", None),
                ("POST", "/v1/tokens", {"peerId": "a"}),
                ("OPTIONS", "/v1/tokens", None),
            ):
                for key in (KEY, None):
                    reply = await api.ask(method, path, body, key, {"Origin": origin})
                    assert reply.error == (403, "action_not_permitted"), origin
                    assert not [name for name in reply.headers if name.lower().startswith("access-control")]
        reply = await api.ask("GET", "/v1/usage", headers={"Origin": own})
        assert reply.status == 200
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        reply = await api.ask("OPTIONS", "/v1/tokens", headers=preflight)
        assert reply.status == 404
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


@on_both_loops
async def test_hazard_44_a_cookie_is_no_credential() -> None:
    async with control_plane() as api:
        cookie = {"Cookie": f"Authorization=Bearer {KEY.id}:{KEY.secret}; token={mint(KEY, Claims('a', 2**40))}"}
        assert (await api.ask("GET", "/v1/usage", key=None, headers=cookie)).error == (401, "unauthorized")
        async with raw(api.hub.url) as connection:
            connection.send(upgrade("/v1", f"Cookie: {cookie['Cookie']}"))
            assert (await connection.head())[0] == 101
            assert await connection.close_code() == 4001


@on_both_loops
async def test_hazard_28_a_get_with_a_body_and_an_upgrade_with_a_transfer_encoding_are_refused() -> None:
    authorization = f"Authorization: Bearer {KEY.id}:{KEY.secret}\r\n"
    smuggled = "GET /v1/usage HTTP/1.1\r\nHost: x\r\n\r\n"
    async with control_plane() as api:
        for path in ("/v1/usage", "/v1/channels/x/peers", "/healthz", "/nothing"):
            for body in (
                f"Content-Length: {len(smuggled)}\r\n\r\n{smuggled}",
                f"Transfer-Encoding: chunked\r\n\r\n{len(smuggled):x}\r\n{smuggled}\r\n0\r\n\r\n",
            ):
                async with raw(api.hub.url) as connection:
                    connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}{body}".encode())
                    assert (await connection.head())[0] == 400
                    rest = await connection.reader.read()
                    assert b"HTTP/1.1" not in rest, "what was in the body is no request"
        for lines in (
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "Content-Length: +2\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding : chunked\r\n",
        ):
            async with raw(api.hub.url) as connection:
                head = f"POST /v1/channels/x/publish HTTP/1.1\r\nHost: x\r\n{authorization}{lines}\r\n"
                connection.send(head.encode() + b"{}")
                assert (await connection.head())[0] == 400, lines
        for more in ("Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Content-Length: 1"):
            async with raw(api.hub.url) as connection:
                connection.send(upgrade("/v1?token=x", more))
                assert (await connection.head())[0] == 400
        assert (await api.usage())["messagesUsed"] == 0


async def test_hazard_18_a_compressed_body_is_not_taken() -> None:
    import gzip

    async with control_plane() as api:
        bomb = gzip.compress(b'{"data":"' + b"0" * 20_000_000 + b'"}')
        reply = await api.ask("POST", "/v1/channels/x/publish", bomb[:30_000], headers={"Content-Encoding": "gzip"})
        assert reply.error == (400, "invalid_request")


async def test_hazard_45_no_answer_and_no_log_line_holds_a_key_or_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = KEY.secret
    pair = f"{KEY.id}:{secret}"
    answers = b""
    async with control_plane() as api:
        minted = (await api.mint("a")).body["token"]
        answers += await _every_failure(api)
        for request in (
            f"GET /v1/usage?key={pair}&token={minted} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pair}\x00\r\n\r\n",
            f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {pair}\r\n\r\n",
            f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pair}\r\nX: {'y' * 40_000}\r\n\r\n",
            f"GET /v1/usage {pair} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"{pair} /v1/usage HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /v1/usage HTTP/1.1\r\nHost: x\r\n{pair}\r\n\r\n",
            f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: {pair}\r\n\r\n",
            f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {pair}\r\n\r\n",
            f"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{pair}\r\n",
            f"POST /v1/tokens HTTP/1.1\r\nAuthorization: Bearer {pair}\r\nTransfer-Encoding: chunked\r\n\r\n{pair}\r\n",
        ):
            async with raw(api.hub.url) as connection:
                connection.send(request.encode())
                answers += await connection.reader.read(65_536)
    ours = "\n".join(caplog.messages)
    for shown in (secret, secret[:20], minted, minted[-20:]):
        assert shown not in ours
        assert shown not in caplog.text
        assert shown.encode() not in answers
    assert answers.count(b" 400 Bad Request\r\n") >= 7
    assert b"aiohttp" not in answers


async def _every_failure(api: Api) -> bytes:
    """Make every kind of refusal, with the key in everything that comes from outside; return what was answered."""
    pair = f"{KEY.id}:{KEY.secret}"
    answers = b""
    broken = SecretKey(KEY.id, KEY.secret + "x")
    for key in (KEY, broken):
        for method, path, body in (
            ("POST", "/v1/tokens", pair.encode()),
            ("POST", "/v1/tokens", {pair: pair}),
            ("POST", "/v1/tokens", {"peerId": 7, "metadata": pair}),
            ("POST", "/v1/channels/x/publish", b'{"data":' + pair.encode()),
            ("POST", "/v1/channels/x/publish", b"x" * 40_000),
            ("GET", f"/v1/{pair}", None),
            ("PUT", "/v1/usage", None),
        ):
            answers += (await api.ask(method, path, body, key)).raw
    settings, api.hub.hub.settings = api.hub.hub.settings, None  # type: ignore[assignment]  # so that it fails
    answers += (await api.ask("GET", "/v1/usage")).raw
    api.hub.hub.settings = settings
    return answers
