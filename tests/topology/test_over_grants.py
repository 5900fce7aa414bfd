"""What flat claims allow beyond the grants beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.rights import Listing, Rights
from orchestrator.protocol.codes import ALL_ACTIONS, Action
from orchestrator.protocol.tokens import Grants, allows
from orchestrator.topology.over_grants import EVERY_PEER, OverGrants, over_grants
from orchestrator.topology.plan import make_plan
from tests.topology.files import DESK, read


def test_a_coordinator_may_read_inboxes_and_write_to_pools() -> None:
    lead = make_plan(read(DESK), None).replicas_of("lead")[0]
    assert over_grants(lead.channels, lead.permissions, lead.grants) == OverGrants(
        subscribe=("tasks/reviewer.*", "tasks/narrator"),
        publish=("lobbies/lobby", "pools/reviewer", "pools/narrator"),
        presence=("lobbies/lobby", "tasks/reviewer.*", "tasks/narrator"),
        listed=("pools/reviewer", "pools/narrator"),
        send=(EVERY_PEER,),
    )


@pytest.mark.parametrize(
    ("permissions", "field"),
    [
        (Action.SUBSCRIBE, "subscribe"),
        (Action.PUBLISH, "publish"),
        (Action.PRESENCE, "presence"),
        (Action.SEND, "send"),
    ],
)
def test_each_permission_opens_one_thing(permissions: Action, field: str) -> None:
    found = over_grants(["c"], frozenset([permissions]), Grants())
    assert [name for name in OverGrants.__slots__ if getattr(found, name)] == [field]


def test_grants_as_wide_as_the_flat_claims_leave_nothing() -> None:
    grants = Grants(subscribe=("a/*",), publish=("**",), presence=("a/**",), send=("**",))
    assert not over_grants(["a/b", "a/*"], ALL_ACTIONS, grants)


patterns = st.lists(st.sampled_from(["a", "a/*", "a/b", "b", "**", "*"]), max_size=3, unique=True).map(tuple)


@given(st.builds(Grants, patterns, patterns, patterns, patterns, patterns), st.sets(st.sampled_from(Action)))
def test_what_is_told_is_what_a_hub_without_grants_would_let_through(grants: Grants, actions: set[Action]) -> None:
    """Every channel and peer that the hub's own rights tell apart with and without grants is in what is told."""
    channels = tuple(dict.fromkeys((*grants.subscribe, *grants.observe, *grants.publish)))
    permissions = frozenset(actions)
    more = over_grants(channels, permissions, grants)
    with_grants, flat = Rights(permissions, [channels], grants), Rights(permissions, [channels], None)
    for name in ("a", "b", "a/b", "a/c", "c", "c/d"):
        reads = Action.SUBSCRIBE in permissions
        new = reads and flat.subscription(name) != Listing.REFUSED and with_grants.subscription(name) == Listing.REFUSED
        assert not new or allows(more.subscribe, name)
        new = Action.PUBLISH in permissions and flat.may_publish(name) and not with_grants.may_publish(name)
        assert not new or allows(more.publish, name)
        new = Action.SEND in permissions and flat.may_send(name) and not with_grants.may_send(name)
        assert not new or more.send == (EVERY_PEER,)
        new = Action.PRESENCE in permissions and flat.subscription(name) != Listing.REFUSED
        assert not new or with_grants.sees_presence(name) or allows(more.presence, name)
        seen = (
            reads and flat.subscription(name) == Listing.LISTED and with_grants.subscription(name) == Listing.UNLISTED
        )
        assert not seen or allows(more.listed, name)
