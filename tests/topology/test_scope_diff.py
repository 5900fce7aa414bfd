"""What a change to a topology grants and withdraws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.protocol.tokens import Grants
from orchestrator.topology.plan import make_plan
from orchestrator.topology.scope_diff import PeerChange, grants_more, scope_diff
from tests.topology.files import DESK, SMALLEST, read

if TYPE_CHECKING:
    from orchestrator.topology.plan import Plan


def planned(text: str) -> Plan:
    return make_plan(read(text), None)


def test_a_topology_does_not_differ_from_itself() -> None:
    assert scope_diff(planned(DESK), planned(DESK)) == ()
    assert not grants_more(())


def test_a_replica_more_is_a_new_peer_and_grants_nobody_else_anything() -> None:
    (change,) = scope_diff(planned(SMALLEST), planned(SMALLEST.replace("replicas: 3", "replicas: 4")))
    helper = Grants(subscribe=("tasks/helper.4", "pools/helper"), send=("boss", "cli/*"))
    assert change == PeerChange("helper", "helper.4", "new", helper, Grants())
    assert grants_more([change])


def test_a_replica_less_is_a_peer_that_is_gone() -> None:
    (change,) = scope_diff(planned(SMALLEST), planned(SMALLEST.replace("replicas: 3", "replicas: 2")))
    assert (change.peer, change.kind, change.granted) == ("helper.3", "removed", Grants())
    assert change.withdrawn.subscribe == ("tasks/helper.3", "pools/helper")
    assert not grants_more([change])


def test_a_wider_pattern_grants_and_withdraws_nothing() -> None:
    before = SMALLEST.replace("app:Helper,", "app:Helper, scopes: {publish: [audit/a, audit/b]},")
    changes = scope_diff(planned(before), planned(before.replace("audit/a, audit/b", "audit/*")))
    assert [(change.granted, change.withdrawn) for change in changes] == [(Grants(publish=("audit/*",)), Grants())] * 3


def test_the_order_of_what_is_granted_does_not_matter() -> None:
    before = SMALLEST.replace("app:Helper,", "app:Helper, scopes: {publish: [a, b]},")
    assert scope_diff(planned(before), planned(before.replace("[a, b]", "[b, a]"))) == ()


@pytest.mark.parametrize("asks", ["[boss]", "[boss, helper]"])
def test_who_a_user_may_ask_changes_both_sides(asks: str) -> None:
    changes = scope_diff(
        planned(f"{SMALLEST}users:\n  u: {{}}\n"), planned(f"{SMALLEST}users:\n  u: {{asks: {asks}}}\n")
    )
    found = {change.peer: change.granted.send for change in changes}
    assert found.pop("u/{sub}") == (("boss",) if asks == "[boss]" else ("boss", "helper.*"))
    assert set(found) == {"boss"} if asks == "[boss]" else {"boss", "helper.1", "helper.2", "helper.3"}
    assert set(found.values()) == {("u/*",)}


def test_one_who_was_seen_and_only_watches_now_loses_and_gains() -> None:
    before = f"{SMALLEST}presence:\n  l: {{members: [boss, helper]}}\n"
    changes = scope_diff(planned(before), planned(before.replace("[boss, helper]", "[boss], watchers: [helper]")))
    assert [change.peer for change in changes] == ["helper.1", "helper.2", "helper.3"]
    assert changes[0].granted == Grants(observe=("lobbies/l",))
    assert changes[0].withdrawn == Grants(subscribe=("lobbies/l",))
