"""Who gets in, and with which code everybody else is refused (checklist 1 to 12, 16, 17)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jwt
import pytest

from orchestrator.hub.keys import PublishableKey
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import Action, CloseCode
from orchestrator.protocol.tokens import Rate, SecretKey, TokenRefused
from tests.hub.rig import KEY, PAGE_KEY, WALL, Rig


def refusal(rig: Rig, query: str, origin: str | None = None) -> CloseCode:
    with pytest.raises(TokenRefused) as refused:
        rig.connect_by(query, origin)
    return refused.value.code


def signed(claims: dict[str, Any], key: SecretKey = KEY, **headers: Any) -> str:
    return "token=" + jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": key.id, **headers})


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "a", "exp": int(WALL) + 1000} | changes


def test_2_the_first_frame_is_a_welcome_with_every_required_field() -> None:
    rig = Rig()
    peer = rig.connect("worker-3", life=900)
    assert peer.all() == [
        {
            "type": "welcome",
            "peerId": "worker-3",
            "expiresAt": int(rig.wall + 900),
            "serverTime": int(rig.wall),
            "maxMessageSize": 65_536,
            "rate": {"per_second": 100, "burst": 200},
        }
    ]
    by_key = rig.connect_by(f"key={PAGE_KEY.key}").all()
    assert by_key[0]["expiresAt"] is None
    assert by_key[0]["type"] == "welcome"


def test_the_welcome_tells_the_message_budget_that_the_connection_really_has() -> None:
    standard, narrow = {"per_second": 100, "burst": 200}, Rate(5.5, 7)
    cases: list[tuple[Any, dict[str, Any], Any]] = [
        ("unlimited", {"rate": "unlimited"}, "unlimited"),
        ("unlimited", {"rate": {"per_second": 20.5, "burst": 30}}, {"per_second": 20.5, "burst": 30}),
        ("unlimited", {}, standard),
        (narrow, {"rate": "unlimited"}, {"per_second": 5.5, "burst": 7}),
        (None, {"rate": {"per_second": 1000, "burst": 9}}, {"per_second": 100, "burst": 9}),
    ]
    for allowed, claimed, granted in cases:
        key = replace(KEY, rate=allowed)
        rig = Rig(None, key)
        assert rig.connect_by(signed(claims(**claimed), key)).all()[0]["rate"] == granted


def test_3_a_publishable_key_gives_a_new_peer_id_to_each_connection() -> None:
    rig = Rig()
    ids = {rig.connect_by(f"key={PAGE_KEY.key}").all()[0]["peerId"] for _ in range(3)}
    assert len(ids) == 3


def test_4_private_metadata_is_in_the_welcome_and_nowhere_else() -> None:
    rig = Rig()
    secret = {"iceServers": [{"urls": "stun:s.example"}], "n": "ü"}
    peer = rig.connect("a", metadata=secret, peer_metadata={"name": "A"})
    other = rig.connect("b")
    assert peer.all()[0]["metadata"] == secret
    assert "metadata" not in other.all()[0]
    other.join("x", includeSenderMetadata=True)
    peer.join("x")
    peer.ask("publish", channel="x", data=1)
    peer.ask("send", to="b", data=1)
    assert "stun" not in json.dumps(other.all())


def test_1_percent_encoded_credentials_are_decoded() -> None:
    rig = Rig()
    token = rig.token("a").replace(".", "%2E").replace("-", "%2d")
    assert rig.connect_by(f"x=1&%74oken={token}").closed is None


@pytest.mark.parametrize(
    "query",
    [
        "",
        "token=",
        "token=abc",
        "token=a.b.c",
        "key=",
        "key=pk_live_unknown",
        "key=sk_secret_" + "k" * 32,
        "token=a.b.c&key=" + PAGE_KEY.key,
        "key=" + PAGE_KEY.key + "&key=" + PAGE_KEY.key,
        "Token=x",
        "key=%FF%FE",
    ],
)
def test_5_garbage_missing_and_doubled_credentials_are_refused_with_4001(query: str) -> None:
    assert refusal(Rig(), query) == CloseCode.INVALID_TOKEN


def test_5_forged_tokens_are_refused_with_4001() -> None:
    rig = Rig()
    good = rig.token("a")
    head, body, signature = good.split(".")
    none = jwt.encode(claims(), None, algorithm="none", headers={"kid": KEY.id})
    other_key = SecretKey("sk_id_other", "x" * 40)
    for query in (
        "token=" + none,
        "token=" + jwt.encode(claims(), KEY.secret + "k" * 32, algorithm="HS512", headers={"kid": KEY.id}),
        "token=" + jwt.encode(claims(), KEY.secret, algorithm="HS256"),
        signed(claims(), other_key),
        "token=" + rig.token("a", SecretKey(KEY.id, "y" * 40)),
        f"token={head}.{body}.{signature[:-2]}AA",
        f"token={head}.{body}.{signature}%0A",
        f"token={head}.{body}.{signature}!",
        f"token={head}.{body}.{signature}=",
        f"token={head}.{body}",
        signed(claims(), zip="DEF"),
        signed(claims(), jku="https://attacker.example/keys"),
    ):
        assert refusal(rig, query) == CloseCode.INVALID_TOKEN, query


def test_6_an_expired_token_is_refused_with_4002() -> None:
    rig = Rig()
    assert refusal(rig, "token=" + rig.token("a", life=-1)) == CloseCode.TOKEN_EXPIRED


@pytest.mark.parametrize("sub", ["", "x" * 129, "tab\t", "ü", 7, None])
def test_8_a_sub_that_is_no_peer_id_is_refused(sub: object) -> None:
    assert refusal(Rig(), signed(claims(sub=sub))) == CloseCode.INVALID_TOKEN


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"x": "y" * 8192}},
        {"metadata": []},
        {"peerMetadata": {"x": "y" * 4096}},
        {"peerMetadata": "x"},
        {"channels": ["a"] * 101},
        {"channels": "a"},
        {"channels": [1]},
        {"permissions": ["send"] * 17},
        {"permissions": ["fly"]},
        {"exp": "soon"},
        {"exp": 1e300},
        {"exp": True},
        {"exp": None},
        {"exp": int(WALL) + 200_000},
        {"nbf": int(WALL) + 1000},
        {"instance": 3},
        {"instance": ""},
        {"rate": "fast"},
        {"rate": {"per_second": -1, "burst": 2}},
        {"grants": []},
        {"grants": {"fly": ["x"]}},
        {"grants": {"send": "x"}},
    ],
    ids=str,
)
def test_9_claims_of_a_wrong_type_or_size_are_refused(changes: dict[str, Any]) -> None:
    assert refusal(Rig(), signed(claims(**changes))) == CloseCode.INVALID_TOKEN


def test_9_metadata_nested_more_deeply_than_a_message_may_be_is_refused() -> None:
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    assert refusal(Rig(), signed(claims(peerMetadata={"x": deep}))) == CloseCode.INVALID_TOKEN


def test_10_a_literal_channel_outside_the_key_is_refused_with_4003() -> None:
    key = SecretKey("sk_id_narrow", "n" * 40, channels=("team/*",))
    rig = Rig(None, key)
    assert refusal(rig, "token=" + rig.token("a", key, channels=("other",))) == CloseCode.CHANNEL_NOT_AUTHORIZED
    assert rig.connect("a", key=key, channels=("team/1", "other/*")).closed is None


def test_11_a_key_with_origins_admits_those_alone() -> None:
    key = PublishableKey("pk_live_" + "o" * 24, origins=("https://a.example", "http://b.example:8080"))
    rig = Rig(None, key)
    query = f"key={key.key}"
    assert rig.connect_by(query, "https://a.example").closed is None
    for origin in (None, "https://a.example.evil", "http://a.example", "https://a.example:444", "null", ""):
        assert refusal(rig, query, origin) == CloseCode.INVALID_TOKEN


@pytest.mark.one_hub("the limit is that of one hub")
def test_12_the_connection_cap_closes_4010_and_a_freed_slot_admits_again() -> None:
    rig = Rig(Settings(max_connections=2))
    first, _ = rig.connect("a"), rig.connect("b")
    third = rig.connect("c")
    assert third.connection is None
    assert third.code() == CloseCode.OVER_CONCURRENT_LIMIT
    assert third.all() == []
    first.leave()
    assert rig.connect("c").closed is None


def test_16_the_scope_of_a_token_is_its_claim_within_its_key() -> None:
    key = SecretKey("sk_id_narrow", "n" * 40, channels=("team/**",), actions=frozenset({Action.SUBSCRIBE}))
    rig = Rig(None, key)
    peer = rig.connect("a", key=key, channels=("team/*", "log/*"), permissions=["subscribe", "publish"])
    assert peer.ask("subscribe", channel="team/1")["type"] == "ack"
    assert peer.ask("subscribe", channel="team/1/2")["code"] == "channel_not_authorized"
    assert peer.ask("subscribe", channel="log/1")["code"] == "channel_not_authorized"
    assert peer.ask("publish", channel="team/1", data=1)["code"] == "action_not_permitted"
    inherits = rig.connect("b", key=key)
    assert inherits.ask("subscribe", channel="team/1/2")["type"] == "ack"
    nothing = rig.connect("c", key=key, channels=())
    assert nothing.ask("subscribe", channel="team/1")["code"] == "channel_not_authorized"


def test_two_keys_of_one_app_serve_the_same_peers_while_keys_are_rotated() -> None:
    old, new = KEY, SecretKey("sk_id_new", "n" * 40)
    rig = Rig(None, old, new)
    rig.connect("a", key=old)
    assert rig.connect("b", key=new).ask("send", to="a", data=1)["type"] == "ack"


def test_publishable_keys_do_not_send_unless_they_say_so() -> None:
    rig = Rig()
    rig.connect("a")
    assert rig.connect_by(f"key={PAGE_KEY.key}").ask("send", to="a", data=1)["code"] == "action_not_permitted"
