"""Hazard 40: every request under every set of permissions, scope and grants, against answers written down here.

The tables say for each axis alone what it lets through, in words that no pattern has to be read for; an answer is
what remains when the axes are asked in the protocol's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any, Final

import pytest

from orchestrator.protocol.codes import Action
from orchestrator.protocol.tokens import Grants, SecretKey
from tests.hub.rig import Peer, Rig

FULL: Final = SecretKey("sk_id_full", "f" * 32)
PERMISSIONS: Final = tuple(
    frozenset(chosen)
    for chosen in chain.from_iterable(
        combinations(("subscribe", "publish", "presence", "send"), size) for size in range(5)
    )
)
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "subscribe": {"type": "subscribe", "channel": "team/1"},
    "subscribe team/*": {"type": "subscribe", "channel": "team/*"},
    "subscribe team/**": {"type": "subscribe", "channel": "team/**"},
    "subscribe reserved": {"type": "subscribe", "channel": "_System/x"},
    "unsubscribe": {"type": "unsubscribe", "channel": "team/1"},
    "publish": {"type": "publish", "channel": "team/1", "data": 1},
    "publish star": {"type": "publish", "channel": "team/*", "data": 1},
    "publish nothing": {"type": "publish", "channel": "team/1"},
    "publish reserved": {"type": "publish", "channel": "_internal/x", "data": 1},
    "send": {"type": "send", "to": "mate", "data": 1},
    "send to nobody there": {"type": "send", "to": "ghost", "data": 1},
    "send to no name": {"type": "send", "to": "", "data": 1},
    "ping": {"type": "ping"},
    "unknown": {"type": "observe", "channel": "team/1"},
}
SAME_FOR_ALL: Final = {
    "subscribe reserved": "channel_reserved",
    "unsubscribe": "ack",
    "publish star": "invalid_channel",
    "publish nothing": "missing_data",
    "publish reserved": "channel_reserved",
    "send to no name": "invalid_peer_id",
    "ping": "pong",
    "unknown": "unknown_type",
}
"""Answers that come before anybody's rights are looked at."""
ALL_SUBSCRIBES: Final = frozenset({"subscribe", "subscribe team/*", "subscribe team/**"})
ONE_LEVEL: Final = frozenset({"subscribe", "subscribe team/*"})
EXACT: Final = frozenset({"subscribe"})
NONE: Final = frozenset[str]()


@dataclass(frozen=True)
class Scope:
    reaches: frozenset[str]
    """The requests whose channel is within it."""
    claim: tuple[str, ...] | None = None
    key: tuple[str, ...] = ("**",)


SCOPES: Final = {
    "everything": Scope(ALL_SUBSCRIBES | {"publish"}),
    "a segment": Scope(ONE_LEVEL | {"publish"}, ("team/*",)),
    "the channel": Scope(EXACT | {"publish"}, ("team/1",)),
    "another channel": Scope(NONE, ("team/2",)),
    "elsewhere": Scope(NONE, ("other/**", "team", "team/", "Team/*")),
    "nothing": Scope(NONE, ()),
    "a segment by the key": Scope(ONE_LEVEL | {"publish"}, None, ("team/*",)),
    "a claim wider than its key": Scope(ONE_LEVEL | {"publish"}, ("**",), ("team/*",)),
    "a claim across its key": Scope(EXACT | {"publish"}, ("team/**",), ("*/1",)),
    "a claim beside its key": Scope(NONE, ("team/*",), ("other/*",)),
}


@dataclass(frozen=True)
class Granted:
    grants: Grants | None
    listed: frozenset[str] = NONE
    """The subscribes that put the subscriber on the roster."""
    observed: frozenset[str] = NONE
    """The subscribes that do not."""
    sees: frozenset[str] = NONE
    """The subscribes that are told who is there."""
    other: frozenset[str] = NONE


GRANTS: Final = {
    "no grants": Granted(
        None, ALL_SUBSCRIBES, sees=ALL_SUBSCRIBES, other=frozenset({"publish", "send", "send to nobody there"})
    ),
    "empty": Granted(Grants()),
    "subscribe": Granted(Grants(subscribe=("team/*",)), ONE_LEVEL),
    "subscribe the channel": Granted(Grants(subscribe=("team/1",)), EXACT),
    "subscribe, see the channel": Granted(Grants(subscribe=("**",), presence=("team/1",)), ALL_SUBSCRIBES, sees=EXACT),
    "see alone": Granted(Grants(presence=("**",))),
    "observe": Granted(Grants(observe=("team/*",)), observed=ONE_LEVEL, sees=ONE_LEVEL),
    "subscribe the channel, observe": Granted(
        Grants(subscribe=("team/1",), observe=("**",)), EXACT, ALL_SUBSCRIBES - EXACT, ALL_SUBSCRIBES
    ),
    "publish": Granted(Grants(publish=("team/*",)), other=frozenset({"publish"})),
    "publish elsewhere": Granted(Grants(publish=("other/*", "team"))),
    "send to mate": Granted(Grants(send=("mate",)), other=frozenset({"send"})),
    "send to ghost": Granted(Grants(send=("gh*",)), other=frozenset({"send to nobody there"})),
    "send to others": Granted(Grants(send=("mat", "mate/*", "Mate"))),
    "send to all": Granted(Grants(send=("**",)), other=frozenset({"send", "send to nobody there"})),
}


@dataclass(frozen=True)
class Cell:
    answer: str
    listed: bool = False
    """The others hear that it joined."""
    told: bool = False
    """It gets a presence frame."""
    hears: bool = False
    """It gets what is published on the channel afterwards."""
    reached: bool = False
    """What it published or sent has arrived."""


def expected(request: str, may: frozenset[str], scope: Scope, granted: Granted) -> Cell:
    if request in SAME_FOR_ALL:
        return Cell(SAME_FOR_ALL[request])
    action = request.split()[0]
    if action not in may:
        return Cell("action_not_permitted")
    if action == "send":
        if request not in granted.other:
            return Cell("action_not_permitted")
        return Cell("ack", reached=True) if request == "send" else Cell("peer_not_found")
    allowed = granted.listed | granted.observed | granted.other
    if request not in scope.reaches or request not in allowed:
        return Cell("channel_not_authorized")
    if action == "publish":
        return Cell("ack", reached=True)
    told = "presence" in may and request in granted.sees
    return Cell("ack", listed=request in granted.listed & EXACT, told=told, hears=True)


def found(request: str, rig: Rig, mate: Peer, key: SecretKey, claims: dict[str, Any]) -> Cell:
    peer = rig.connect("me", key=key, **claims)
    peer.new()
    mate.writes.clear()
    mate.seen = 0
    peer.send({**REQUESTS[request], "requestId": "r"})
    rig.advance(0.03)
    mine, theirs = peer.new(), mate.new()
    answers = [frame for frame in mine if frame.get("requestId") == "r"]
    assert len(answers) == 1, answers
    mate.send({"type": "publish", "channel": "team/1", "data": "later"})
    later = [frame for frame in peer.new() if frame["type"] == "message"]
    peer.leave()
    return Cell(
        answers[0].get("code") or answers[0]["type"],
        listed=any(frame["type"] == "presence" and frame["joined"] for frame in theirs),
        told=any(frame["type"] == "presence" for frame in mine),
        hears=[frame["data"] for frame in later] == ["later"],
        reached=any(frame["type"] in ("message", "direct") for frame in theirs),
    )


@pytest.mark.parametrize("grants_name", GRANTS)
@pytest.mark.parametrize("scope_name", SCOPES)
def test_16_28_41_a_request_is_answered_as_the_tables_say(scope_name: str, grants_name: str) -> None:
    scope, granted = SCOPES[scope_name], GRANTS[grants_name]
    for may in PERMISSIONS:
        key = SecretKey("sk_id_me", "m" * 32, channels=scope.key)
        check(may, scope, granted, key, {"permissions": sorted(may)})


@pytest.mark.parametrize("scope_name", SCOPES)
def test_16_what_a_token_leaves_open_is_as_its_key_says(scope_name: str) -> None:
    scope = SCOPES[scope_name]
    for may in PERMISSIONS:
        key = SecretKey("sk_id_me", "m" * 32, channels=scope.key, actions=frozenset(map(Action, may)))
        check(may, scope, GRANTS["no grants"], key, {})
        check(may, scope, GRANTS["no grants"], key, {"permissions": ["subscribe", "publish", "presence", "send"]})


def check(may: frozenset[str], scope: Scope, granted: Granted, key: SecretKey, claims: dict[str, Any]) -> None:
    rig = Rig(None, FULL, key)
    mate = rig.connect("mate", key=FULL)
    mate.join("team/1")
    for request in REQUESTS:
        if request not in SAME_FOR_ALL or granted in (GRANTS["no grants"], GRANTS["empty"]):
            cell = found(request, rig, mate, key, {"channels": scope.claim, "grants": granted.grants, **claims})
            assert cell == expected(request, may, scope, granted), (request, sorted(may))
    assert rig.faults == []


def test_the_matrix_has_more_than_four_hundred_cells_of_every_kind() -> None:
    cells = [
        expected(request, may, scope, granted)
        for request in REQUESTS
        for may in PERMISSIONS
        for scope in SCOPES.values()
        for granted in GRANTS.values()
    ]
    assert len(cells) >= 400
    assert {cell.answer for cell in cells} == {
        "ack",
        "pong",
        "action_not_permitted",
        "channel_not_authorized",
        "channel_reserved",
        "invalid_channel",
        "invalid_peer_id",
        "missing_data",
        "peer_not_found",
        "unknown_type",
    }
    assert all(any(getattr(cell, field) for cell in cells) for field in ("listed", "told", "hears", "reached"))


@pytest.mark.parametrize("to", ["mate", "ghost"])
def test_whether_a_peer_is_there_is_not_told_to_those_who_may_not_send_to_it(to: str) -> None:
    rig = Rig()
    rig.connect("mate")
    answers = [
        rig.connect("me", permissions=["publish"]).ask("send", to=to, data=1),
        rig.connect("me", grants=Grants(send=("other",))).ask("send", to=to, data=1),
    ]
    assert [answer["code"] for answer in answers] == ["action_not_permitted"] * 2
    assert not any(to in answer["message"] for answer in answers)


@pytest.mark.parametrize(
    ("narrower", "kept"),
    [
        ({"permissions": ["publish", "send", "presence"]}, []),
        ({"channels": ()}, []),
        ({"channels": ("team/1",)}, ["team/1"]),
        ({"grants": Grants(subscribe=("team/*",))}, ["team/*", "team/1"]),
        ({"grants": Grants(publish=("**",))}, []),
        ({}, ["team/*", "team/1"]),
    ],
    ids=str,
)
def test_42_a_continuation_keeps_the_subscriptions_that_its_own_token_allows(
    narrower: dict[str, Any], kept: list[str]
) -> None:
    rig = Rig()
    first = rig.connect("me", instance="1")
    for channel in ("team/1", "team/*"):
        first.join(channel)
    second = rig.connect("me", instance="1", **narrower)
    assert first.code() == 1000
    assert second.connection is not None
    assert sorted(second.connection.subscriptions) == kept
    rig.connect("mate").ask("publish", channel="team/1", data=1)
    assert [frame["type"] for frame in second.all()].count("message") == bool(kept)
