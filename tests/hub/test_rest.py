"""The control plane over a real port (checklist 71 to 78, and 18)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import jwt
import pytest

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.rest_requests import Action, Route, find_route
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import Action as Grant
from orchestrator.protocol.tokens import SecretKey
from tests.hub.rest_client import control_plane
from tests.hub.rig import PAGE_KEY
from tests.hub.sockets import KEY, TEXT, Raw, frame, on_both_loops, raw, raw_peer, server, token, upgrade

NARROW = SecretKey("sk_id_narrow", "sk_secret_" + "n" * 32, channels=("team/*", "lone"), max_token_life=600)
DUMB = SecretKey("sk_id_dumb", "sk_secret_" + "d" * 32, actions=frozenset())
MUTE = SecretKey("sk_id_mute", "sk_secret_" + "m" * 32, app="quiet")
KEYS = KeyRing([KEY, NARROW, DUMB, MUTE], [PAGE_KEY], ["quiet"])


async def joined(peer: Raw, channel: str, **options: Any) -> None:
    """Subscribe, and wait for the roster."""
    peer.say({"type": "subscribe", "channel": channel, "requestId": "join", **options})
    assert (await peer.message())["type"] == "ack"
    assert (await peer.message())["type"] == "presence"


# -- 71


@on_both_loops
async def test_71_every_failure_of_authentication_gets_the_same_401() -> None:
    good = f"{KEY.id}:{KEY.secret}"
    headers: list[dict[str, str]] = [
        {},
        *(
            {"Authorization": text}
            for text in (
                "",
                "Bearer",
                "Bearer ",
                f"Bearer {KEY.id}",
                f"Bearer {KEY.id}:",
                f"Bearer :{KEY.secret}",
                f"Bearer {KEY.secret}",
                f"Bearer {good}x",
                f"Bearer {good[:-1]}",
                f"Bearer {KEY.id}:{KEY.secret[:-1]}x",
                f"Bearer sk_id_unknown:{KEY.secret}",
                f"Bearer {KEY.id} :{KEY.secret}",
                f"Bearer {NARROW.id}:{KEY.secret}",
                f"Bearer {MUTE.id}:{MUTE.secret}",
                f"Bearer {PAGE_KEY.key}",
                f"Bearer {PAGE_KEY.key}:{PAGE_KEY.key}",
                f"Bearer {token('a')}",
                f"Basic {good}",
                f"Token {good}",
                good,
                f"Bearer {KEY.id}:\u20ac\u20ac",
                "Bearer " + "x" * 20_000,
            )
        ),
    ]
    async with control_plane(keys=KEYS) as api:
        assert (await api.ask("GET", "/v1/usage", key=None, headers={"Authorization": f"bearer  {good}"})).status == 200
        answers = set()
        for given in headers:
            for method, path, body in (
                ("GET", "/v1/usage", None),
                ("POST", "/v1/tokens", b"nonsense"),
                ("GET", "/v1/channels/_system/x/peers", None),
                ("POST", "/v1/channels/x/publish", b"{}"),
                ("DELETE", "/v1/peers/a", None),
            ):
                reply = await api.ask(method, path, body, None, given)
                shown = {name: value for name, value in reply.headers.items() if name != "Date"}
                answers.add((reply.status, reply.raw, tuple(sorted(shown.items()))))
        assert len(answers) == 1, answers
        assert reply.error == (401, "unauthorized")


@on_both_loops
async def test_71_two_authorizations_are_none() -> None:
    async with server() as hub, raw(hub.url) as connection:
        line = f"Authorization: Bearer {KEY.id}:{KEY.secret}\r\n"
        connection.send(f"GET /v1/usage HTTP/1.1\r\nHost: x\r\n{line}{line}\r\n".encode())
        assert (await connection.head())[0] in (400, 401)


@on_both_loops
async def test_71_a_key_that_was_revoked_is_none_from_then_on() -> None:
    async with control_plane(keys=KEYS) as api:
        assert (await api.mint(key=KEY)).status == 200
        api.hub.rekey(KeyRing([NARROW]))
        revoked = await api.mint(key=KEY)
        stranger = await api.mint(key=SecretKey("sk_id_nobody", KEY.secret))
        assert revoked.error == (401, "unauthorized")
        assert revoked.raw == stranger.raw


# -- 72, 73


@on_both_loops
async def test_72_a_minted_token_connects_and_carries_exactly_what_was_asked_for() -> None:
    wanted: dict[str, Any] = {
        "channels": ["team/1", "team/*"],
        "permissions": ["subscribe", "send"],
        "expiresInSec": 300,
        "metadata": {"turn": [1, 2**60, "é"]},
        "peerMetadata": {"name": "Ünï"},
    }
    async with control_plane(keys=KEYS) as api:
        before = int(time.time())
        reply = await api.mint("a b", NARROW, **wanted)
        assert reply.status == 200
        assert set(reply.body) == {"token", "expiresAt"}
        assert before + 300 <= reply.body["expiresAt"] <= time.time() + 300
        minted = reply.body["token"]
        assert jwt.get_unverified_header(minted) == {"alg": "HS256", "typ": "JWT", "kid": NARROW.id}
        payload = jwt.decode(minted, NARROW.secret, algorithms=["HS256"])
        assert payload.pop("exp") == reply.body["expiresAt"]
        assert payload.pop("sub") == "a b"
        wanted.pop("expiresInSec")
        assert sorted(payload.pop("permissions")) == sorted(wanted.pop("permissions"))
        assert payload == wanted
        async with raw(api.hub.url) as peer:
            peer.send(upgrade(f"/v1?token={minted}"))
            await peer.head()
            welcome = await peer.message()
            assert welcome["peerId"] == "a b"
            assert welcome["expiresAt"] == reply.body["expiresAt"]
            assert welcome["metadata"] == wanted["metadata"]
            await joined_or_refused(peer)


async def joined_or_refused(peer: Raw) -> None:
    """Without the presence action there is no roster, and without the publish action no publish."""
    peer.say({"type": "subscribe", "channel": "team/7", "requestId": "1"})
    assert await peer.message() == {"type": "ack", "requestId": "1"}
    peer.say({"type": "subscribe", "channel": "lone", "requestId": "2"})
    assert (await peer.message())["code"] == "channel_not_authorized"
    peer.say({"type": "publish", "channel": "team/1", "data": 1, "requestId": "3"})
    assert (await peer.message())["code"] == "action_not_permitted"


@on_both_loops
async def test_72_a_token_without_more_has_the_scope_of_its_key() -> None:
    async with control_plane(keys=KEYS) as api:
        minted = (await api.mint("a", NARROW)).body["token"]
        payload = jwt.decode(minted, NARROW.secret, algorithms=["HS256"])
        assert set(payload) == {"sub", "exp"}


@on_both_loops
async def test_72_a_scope_wider_than_the_keys_is_refused_with_403() -> None:
    only_subscribe = SecretKey("sk_id_sub", "sk_secret_" + "u" * 32, actions=frozenset({Grant.SUBSCRIBE}))
    async with control_plane(keys=KeyRing([NARROW, only_subscribe])) as api:
        for channels in (["team/**"], ["**"], ["*"], ["other"], ["team/1", "team/a/b"], ["team/1", "lon*"]):
            assert (await api.mint(key=NARROW, channels=channels)).error == (403, "channel_not_authorized"), channels
        for channels in ([], ["team/1"], ["team/*"], ["team/a*"], ["lone"]):
            assert (await api.mint(key=NARROW, channels=channels)).status == 200, channels
        assert (await api.mint(key=only_subscribe, permissions=["send"])).error == (403, "action_not_permitted")
        assert (await api.mint(key=only_subscribe, permissions=[])).status == 200


@on_both_loops
async def test_72_grants_instance_and_rate_may_be_asked_for_and_are_not_dropped_silently() -> None:
    more: dict[str, Any] = {
        "grants": {"subscribe": ["a"], "send": ["b"]},
        "instance": "i1",
        "rate": {"per_second": 5.0, "burst": 7},
    }
    async with control_plane() as api:
        payload = jwt.decode((await api.mint(**more)).body["token"], KEY.secret, algorithms=["HS256"])
        assert {name: payload[name] for name in more} == more
        for name in more:
            wrong: dict[str, Any] = {name: 7}
            assert (await api.mint(**wrong)).error == (400, "invalid_request")


@on_both_loops
async def test_72_claims_that_fit_their_caps_but_no_connection_are_not_minted() -> None:
    async with control_plane() as api:
        large: dict[str, Any] = {"metadata": {"x": "m" * 8_000}, "peerMetadata": {"x": "p" * 4_000}}
        names = [f"{n:03}" + "c" * 150 for n in range(100)]
        assert (await api.mint(**large, channels=names)).error == (400, "invalid_request")
        fitting = await api.mint(**large, channels=names[:30])
        async with raw(api.hub.url) as peer:
            peer.send(upgrade(f"/v1?token={fitting.body['token']}"))
            assert (await peer.head())[0] == 101
            assert (await peer.message())["type"] == "welcome"


@on_both_loops
async def test_73_a_life_is_1_to_86400_seconds_an_hour_by_default_and_never_longer_than_the_key_allows() -> None:
    async with control_plane(keys=KEYS) as api:
        for life in (0, -1, 86_401, 1e9, 10**400, 1.5, 900.0, "900", True, None, [900]):
            assert (await api.mint(expiresInSec=life)).error == (400, "invalid_request"), life
        for key, life, lasts in ((KEY, None, 3600), (KEY, 1, 1), (KEY, 86_400, 86_400), (NARROW, None, 600)):
            now = int(time.time())
            given: dict[str, Any] = {} if life is None else {"expiresInSec": life}
            reply = await api.mint(key=key, **given)
            assert now + lasts <= reply.body["expiresAt"] <= time.time() + lasts
        assert (await api.mint(key=NARROW, expiresInSec=600)).status == 200
        assert (await api.mint(key=NARROW, expiresInSec=601)).error == (400, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"peerId": ""},
        {"peerId": "x" * 129},
        {"peerId": "é"},
        {"peerId": "a\n"},
        {"peerId": 7},
        {"peerId": None},
        {"channels": "team/1"},
        {"channels": None},
        {"channels": [7]},
        {"channels": [""]},
        {"channels": ["a\n"]},
        {"channels": ["é" * 129]},
        {"channels": ["x"] * 101},
        {"permissions": ["fly"]},
        {"permissions": "send"},
        {"permissions": ["send"] * 17},
        {"metadata": []},
        {"metadata": {"x": "m" * 8_192}},
        {"peerMetadata": {"x": "p" * 4_096}},
        {"peerMetadata": "name"},
        {"metadata": json.loads("[" * 60 + "]" * 60)},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_token_with_faulty_fields_is_refused_with_400_and_the_field_is_named(fields: dict[str, Any]) -> None:
    async with control_plane() as api:
        reply = await api.mint(**{"peerId": "a", **fields})
        assert reply.error == (400, "invalid_request")
        assert f"`{next(iter(fields))}`" in reply.body["message"]


async def test_half_a_character_is_no_text() -> None:
    async with control_plane() as api:
        for fields in ({"channels": ["\ud800"]}, {"peerMetadata": {"x": "\udc00"}}, {"instance": "\ud800"}):
            assert (await api.ask("POST", "/v1/tokens", {"peerId": "a", **fields})).error == (400, "invalid_request")


async def test_metadata_nested_too_deeply_to_be_shown_is_refused() -> None:
    async with control_plane() as api:
        for depth, status in ((62, 200), (63, 400)):
            nested = json.loads('{"x":' * depth + "1" + "}" * depth)
            assert (await api.mint(peerMetadata=nested)).status == status
            assert (await api.publish("x", data=1, peerMetadata=nested)).status == status


# -- 74


@pytest.mark.one_hub("what other hubs hold is known a moment later, and the answer says `stale`")
@on_both_loops
async def test_74_the_peers_of_a_channel_are_its_roster_under_both_forms_of_the_path() -> None:
    async with control_plane() as api:
        for path in ("team%2F42", "team/42"):
            assert (await api.peers(path)).body == {"channel": "team/42", "peers": []}
        async with (
            raw_peer(api.hub.url, "w3", peer_metadata={"kind": "agent"}) as first,
            raw_peer(api.hub.url, "w3", peer_metadata={"kind": "agent"}) as again,
            raw_peer(api.hub.url, "w4") as second,
            raw_peer(api.hub.url, "w5") as pattern,
        ):
            for peer in (first, again, second):
                await joined(peer, "team/42")
            await joined(pattern, "team/*")
            roster = [{"peerId": "w3", "metadata": {"kind": "agent"}}, {"peerId": "w4"}]
            for path in ("team%2F42", "team/42", "team%2f42", "%74eam/42"):
                reply = await api.peers(path)
                assert reply.status == 200
                assert reply.body == {"channel": "team/42", "peers": roster}, path


@pytest.mark.one_hub("the answer of one that has joined others says `stale` too")
@on_both_loops
async def test_74_the_path_is_decoded_once() -> None:
    async with control_plane() as api:
        for path, channel in (
            ("team%252F42", "team%2F42"),
            ("a+b", "a+b"),
            ("%C3%A9", "é"),
            ("a%20b", "a b"),
            ("x/peers", "x/peers"),
            ("a/../b", "a/../b"),
            ("a//b", "a//b"),
            ("100%", "100%"),
            ("a%3Fb%23", "a?b#"),
        ):
            assert (await api.peers(path)).body == {"channel": channel, "peers": []}, path
        for path in ("", "%00", "%0A", "a*", "%2A", "%ff", "x" * 257, "%C3%A9" * 129):
            assert (await api.peers(path)).error == (400, "invalid_request"), path
            assert (await api.publish(path, data=1)).error == (400, "invalid_request"), path


@on_both_loops
async def test_74_listing_needs_the_presence_action_and_the_channel() -> None:
    async with control_plane(keys=KEYS) as api:
        assert (await api.peers("team/1", DUMB)).error == (403, "action_not_permitted")
        assert (await api.peers("other", NARROW)).error == (403, "channel_not_authorized")
        assert (await api.peers("team/1", NARROW)).status == 200


# -- 75


@on_both_loops
async def test_75_a_publish_reaches_every_subscriber_under_the_name_that_it_gives() -> None:
    async with (
        control_plane() as api,
        raw_peer(api.hub.url, "a") as a,
        raw_peer(api.hub.url, "b") as b,
        raw_peer(api.hub.url, "c") as c,
    ):
        await joined(a, "team/42", includeSenderMetadata=True)
        await joined(b, "team/*")
        body = b'{"data":{"n":12345678901234567890123, "x" : null},"from":"a","peerMetadata":{"k":1}}'
        for path in ("team/42", "team%2F42"):
            reply = await api.ask("POST", f"/v1/channels/{path}/publish", body)
            assert (reply.status, reply.body) == (200, {"channel": "team/42", "delivered": 2})
            opcode, text = await b.read()
            plain = b'{"type":"message","channel":"team/42","from":"a","data":{"n":12345678901234567890123, "x" : null}'
            assert (opcode, text) == (TEXT, plain + b"}")
            assert await a.read() == (TEXT, plain + b',"fromMetadata":{"k":1}}')
        assert (await api.publish("team/42", data=None)).body["delivered"] == 2
        assert await a.message() == {"type": "message", "channel": "team/42", "from": "system", "data": None}
        assert (await api.publish("nobody/here", data=[])).body == {"channel": "nobody/here", "delivered": 0}
        c.say({"type": "ping"})
        assert await c.message() == {"type": "pong"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b"{}",
        b'{"dat":1}',
        b'{"data":NaN}',
        b'{"data":1}}',
        b'{"data":"\xff"}',
        b'\xef\xbb\xbf{"data":1}',
        b'{"data":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"data":1,"from":""}',
        b'{"data":1,"from":7}',
        b'{"data":1,"from":null}',
        b'{"data":1,"from":"a\\n"}',
        b'{"data":1,"from":"\\ud800"}',
        b'{"data":1,"from":"' + b"x" * 129 + b'"}',
        b'{"data":1,"peerMetadata":[]}',
        b'{"data":1,"peerMetadata":null}',
        b'{"data":1,"peerMetadata":{"x":1e400}}',
        b'{"data":1,"peerMetadata":{"x":"' + b"p" * 4_096 + b'"}}',
        b'{"data":1,"id":7}',
        b'{"data":1,"id":""}',
    ],
)
async def test_75_a_publish_without_data_or_with_faulty_fields_is_refused_with_400(body: bytes) -> None:
    async with control_plane() as api:
        assert (await api.ask("POST", "/v1/channels/x/publish", body)).error == (400, "invalid_request")
        assert (await api.usage())["messagesUsed"] == 0


async def test_75_of_a_field_that_is_there_twice_the_last_one_counts() -> None:
    async with control_plane() as api, raw_peer(api.hub.url, "a") as a:
        await joined(a, "x")
        await api.ask("POST", "/v1/channels/x/publish", b'{"data":1,"from":"m","data":2,"from":"n"}')
        assert await a.message() == {"type": "message", "channel": "x", "from": "n", "data": 2}


@on_both_loops
async def test_75_publishing_needs_the_publish_action_and_the_channel() -> None:
    async with control_plane(keys=KEYS) as api:
        assert (await api.publish("team/1", DUMB, data=1)).error == (403, "action_not_permitted")
        assert (await api.publish("other", NARROW, data=1)).error == (403, "channel_not_authorized")
        assert (await api.publish("team/1", NARROW, data=1)).status == 200


async def test_18_reserved_names_are_refused_by_every_route_in_any_letter_case() -> None:
    async with control_plane(keys=KEYS) as api:
        for name in ("_metered/x", "_INTERNAL/x", "_System/", "_system%2Fx", "%5Fsystem/x"):
            assert (await api.publish(name, data=1)).error == (400, "channel_reserved"), name
            assert (await api.peers(name)).error == (400, "channel_reserved"), name
        for name in ("_metered/x", "_INTERNAL/*", "_System/**"):
            assert (await api.mint(channels=[name])).error == (400, "channel_reserved"), name
            assert (await api.mint(channels=[name], key=NARROW)).error == (400, "channel_reserved"), name


# -- 76


@pytest.mark.one_hub("what other hubs hold is known a moment later")
@on_both_loops
async def test_76_a_kick_closes_every_connection_of_the_peer_with_4020_and_counts_them() -> None:
    async with (
        control_plane() as api,
        raw_peer(api.hub.url, "pool/w 3") as first,
        raw_peer(api.hub.url, "pool/w 3") as second,
        raw_peer(api.hub.url, "other") as other,
    ):
        reply = await api.kick("pool%2Fw%203")
        assert (reply.status, reply.body) == (200, {"peerId": "pool/w 3", "closed": 2})
        for peer in (first, second):
            assert await peer.close_code() == 4020
        for path in ("pool/w%203", "nobody"):
            again = await api.kick(path)
            assert (again.status, again.body["closed"]) == (200, 0)
        other.say({"type": "ping"})
        assert await other.message() == {"type": "pong"}
        for path in ("", "%0A", "x" * 129, "%ff"):
            assert (await api.kick(path)).error == (400, "invalid_request"), path


@pytest.mark.one_hub("what other hubs hold is known a moment later")
@on_both_loops
async def test_76_any_secret_key_of_the_app_may_kick() -> None:
    async with control_plane(keys=KEYS) as api, raw_peer(api.hub.url, "a") as a:
        assert (await api.kick("a", DUMB)).body["closed"] == 1
        assert await a.close_code() == 4020


# -- 77


@pytest.mark.one_hub("the usage of other hubs is known two seconds later")
@on_both_loops
async def test_77_usage_counts_live_connections_and_attempted_messages() -> None:
    settings = Settings(max_connections=9, max_messages=100, drain_grace=0.5)
    async with control_plane(settings, KEYS) as api:
        assert await api.usage() == {
            "appId": "default",
            "periodStartUnix": None,
            "periodEndUnix": None,
            "concurrentNow": 0,
            "peakConcurrent": 0,
            "messagesUsed": 0,
            "overageMessages": 0,
            "overageConnections": 0,
            "plan": {
                "name": None,
                "maxConcurrentConnections": 9,
                "maxMessagesPerPeriod": 100,
                "overagesAllowed": False,
                "overagesEnabled": False,
            },
        }
        async with raw_peer(api.hub.url, "a") as a:
            async with raw_peer(api.hub.url, "b", permissions=frozenset()) as b:
                for message in (
                    {"type": "publish", "channel": "x", "data": 1, "requestId": "1"},  # refused, and counted
                    {"type": "send", "to": "a", "data": 1, "requestId": "2"},  # the same
                    {"type": "subscribe", "channel": "x", "requestId": "3"},  # neither
                ):
                    b.say(message)
                    assert (await b.message())["type"] == "error"
                for message in (
                    {"type": "publish", "channel": "x", "data": 1, "requestId": "1"},
                    {"type": "send", "to": "b", "data": 1, "requestId": "2"},
                    {"type": "send", "to": "nobody", "data": 1, "requestId": "3"},
                ):
                    a.say(message)
                    await a.message()
                await api.publish("x", data=1)
                await api.publish("x", DUMB, data=1)  # refused, and counted
                usage = await api.usage()
                assert (usage["concurrentNow"], usage["peakConcurrent"], usage["messagesUsed"]) == (2, 2, 7)
                await api.kick("b")
            usage = await api.usage(NARROW)
            assert (usage["concurrentNow"], usage["peakConcurrent"], usage["messagesUsed"]) == (1, 2, 7)


async def test_62_a_publish_beyond_the_quota_is_refused_with_429() -> None:
    async with control_plane(Settings(max_messages=2, drain_grace=0.5)) as api:
        statuses = [(await api.publish("x", data=1)).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await api.publish("x", data=1)).error == (429, "over_message_quota")
        assert (await api.usage())["messagesUsed"] == 4


# -- 78


@on_both_loops
async def test_78_a_body_of_32_kib_is_taken_and_a_larger_one_refused_with_413() -> None:
    def body(size: int) -> bytes:
        return b'{"data":"' + b"x" * (size - len('{"data":""}')) + b'"}'

    async with control_plane() as api:
        path = "/v1/channels/x/publish"
        assert (await api.ask("POST", path, body(32_768))).status == 200
        assert (await api.ask("POST", path, body(32_769))).error == (413, "invalid_request")
        async with raw(api.hub.url) as chunked:
            chunked.send(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY.id}:{KEY.secret}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            for _ in range(9):
                chunked.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            status, _ = await chunked.head()
            assert status == 413


@on_both_loops
async def test_78_what_is_no_route_or_no_method_of_one_is_404_with_an_error_and_a_message() -> None:
    async with control_plane() as api:
        for method, path in (
            ("POST", "/"),
            ("GET", "/none"),
            ("GET", "/v2/usage"),
            ("GET", "/v1/"),
            ("GET", "/v1/usage/"),
            ("GET", "/v1/Usage"),
            ("GET", "/v1//usage"),
            ("POST", "/v1/usage"),
            ("GET", "/v1/tokens"),
            ("PUT", "/v1/tokens"),
            ("POST", "/v1"),
            ("GET", "/v1/channels"),
            ("GET", "/v1/channels/x"),
            ("GET", "/v1/channels/peers"),
            ("GET", "/v1/channels/x/publish"),
            ("POST", "/v1/channels/x/peers"),
            ("GET", "/v1/peers/a"),
            ("DELETE", "/v1/peers"),
            ("PATCH", "/v1/peers/a"),
            ("OPTIONS", "/v1/tokens"),
            ("POST", "/healthz"),
        ):
            for key in (KEY, None):
                reply = await api.ask(method, path, key=key)
                assert reply.error == (404, "not_found"), (method, path)
        assert (await api.ask("HEAD", "/v1/usage")).status == 404


@on_both_loops
async def test_78_a_query_is_no_part_of_the_path() -> None:
    async with control_plane() as api:
        assert (await api.ask("GET", "/v1/usage?x=/v1/tokens")).status == 200
        assert (await api.ask("GET", "/v1/channels/x/peers?y")).body["channel"] == "x"


@on_both_loops
async def test_78_a_fault_in_the_hub_is_503_and_says_nothing_of_itself() -> None:
    async with control_plane() as api:
        api.hub.hub.settings = None  # type: ignore[assignment]
        reply = await api.ask("GET", "/v1/usage")
        api.hub.hub.settings = api.hub.settings
        assert reply.error == (503, "internal_error")
        assert b"Attribute" not in reply.raw


@on_both_loops
async def test_the_control_plane_answers_while_connections_go_on() -> None:
    async with control_plane() as api, raw_peer(api.hub.url, "a") as a:
        await joined(a, "x")
        await asyncio.gather(*(api.publish("x", data=n) for n in range(20)))
        assert sorted([(await a.message())["data"] for _ in range(20)]) == list(range(20))
        a.send(frame(0x8, b"\x03\xe8"))
        assert await a.close_code() == 1000
        assert (await api.usage())["concurrentNow"] == 0


def test_a_route_is_found_by_its_fixed_parts_alone() -> None:
    assert find_route("GET", "/v1/channels/a/publish/peers") == Route(Action.PEERS, "a/publish")
    assert find_route("POST", "/v1/channels/a/peers/publish") == Route(Action.PUBLISH, "a/peers")
    assert find_route("DELETE", "/v1/peers/a/peers") == Route(Action.KICK, "a/peers")
    assert find_route("GET", "http://x/v1/usage") is None
    assert find_route("get", "/v1/usage") is None
