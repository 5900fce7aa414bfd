"""Whoever operates a run may ask everybody, see everything and speak everywhere, with a token that a hub takes."""

from __future__ import annotations

import pytest

from orchestrator.protocol.dashboard import RUNS
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_METADATA, MAX_TOKEN
from orchestrator.protocol.tokens import SecretKey, allows, compact_size, mint, verify
from orchestrator.topology.operator import operator_claims
from orchestrator.topology.plan import make_plan
from tests.topology.files import DESK, read

KEY = SecretKey("sk_id_operator", "sk_secret_" + "s" * 40)
EXP = 1_900_000_000


def workers(count: int, replicas: int, name: str = "worker") -> str:
    lines = [f"  {name}{number}: {{handler: 'app:A', replicas: {replicas}}}" for number in range(count)]
    return "\n".join(["version: 1", "agents:", *lines])


@pytest.mark.parametrize(
    "text",
    [DESK, workers(2, 3), workers(99, 1), workers(100, 1), workers(150, 40), workers(90, 2, "w" * 60)],
    ids=["desk", "few", "as many as fit", "one more", "very many", "long names"],
)
def test_a_hub_takes_the_token_of_an_operator_of_any_plan(text: str) -> None:
    plan = make_plan(read(text), None)
    token = mint(KEY, operator_claims(plan, "a1b2", EXP, "first"))
    assert len(token) <= MAX_TOKEN
    _, claims = verify(token, {KEY.id: KEY}, EXP - 3600)
    assert (claims.sub, claims.instance) == ("cli/a1b2", "first")
    assert claims.peer_metadata == {"kind": "user", "user": "cli", "name": "a1b2"}
    grants = claims.grants
    assert grants is not None
    assert len(grants.send) <= MAX_CHANNEL_CLAIMS
    for replica in plan.replicas:
        assert allows(grants.send, replica.peer_id)
    assert allows(grants.send, "(run)/0a1b")
    assert not allows(grants.send, "reader/alice")
    for channel in (RUNS, "lobbies/lobby", "teams/desk/state", "pools/worker1"):
        assert allows(grants.observe, channel)
        assert allows(grants.publish, channel)
        assert not allows(grants.subscribe, channel), "it would be listed there"


def test_its_token_says_whom_it_may_ask_where_that_fits() -> None:
    plan = make_plan(read(workers(2, 2)), None)
    metadata = operator_claims(plan, "a", EXP, "i").metadata
    assert metadata == {"asks": {"worker0": ["worker0.1", "worker0.2"], "worker1": ["worker1.1", "worker1.2"]}}
    many = operator_claims(make_plan(read(workers(150, 40)), None), "a", EXP, "i")
    assert many.metadata == {}
    assert many.grants is not None
    assert compact_size(many.grants.to_claim()) <= MAX_METADATA


def test_replicas_that_come_later_may_be_sent_to() -> None:
    grants = operator_claims(make_plan(read(workers(1, 2)), None), "a", EXP, "i").grants
    assert grants is not None
    assert allows(grants.send, "worker0.3")
    assert not allows(grants.send, "worker1")


@pytest.mark.parametrize("sub", ["", "a/b", "a\n", "x" * 125])
def test_a_name_that_is_no_part_of_a_peer_id_is_refused(sub: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        operator_claims(make_plan(read(DESK), None), sub, EXP, "i")
