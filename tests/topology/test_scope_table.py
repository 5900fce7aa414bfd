"""The table of scopes: every relation with what it takes, and together all that the tokens say."""

from __future__ import annotations

import time

import pytest

from orchestrator.protocol.tokens import Grants, SecretKey, mint, verify
from orchestrator.topology.plan import make_plan
from orchestrator.topology.scope_table import ScopeSection, scope_table
from tests.topology.files import DESK, read

TEXT = f"{DESK}users:\n  reader: {{asks: [lead], scopes: {{publish: [audit/*]}}}}\n"


def sections() -> dict[str, ScopeSection]:
    topology = read(TEXT)
    return {section.name: section for section in scope_table(topology, make_plan(topology, None))}


def test_there_is_a_section_for_everybody_who_gets_a_token() -> None:
    assert [(section.name, section.kind, len(section.tokens)) for section in sections().values()] == [
        ("lead", "coordinator", 1),
        ("reviewer", "worker", 3),
        ("narrator", "worker", 1),
        ("checker", "agent", 2),
        ("concierge", "agent", 1),
        ("reader", "user", 1),
        ("cli", "built-in user", 1),
    ]


def test_the_relations_are_those_of_the_file() -> None:
    found = {name: [(need.relation, need.others) for need in section.needs] for name, section in sections().items()}
    assert found["lead"] == [
        ("coordinator", ("reviewer", "narrator")),
        ("team", ("desk",)),
        ("lobby member", ("lobby",)),
        ("asked", ("reader", "cli")),
    ]
    assert found["concierge"] == [("lobby watcher", ("lobby",)), ("asked", ("cli",))]
    assert found["reader"] == [("asks", ("lead",)), ("scopes", ())]
    assert sections()["reader"].needs[1].grants == Grants(publish=("audit/*",))


@pytest.mark.parametrize("name", ["lead", "reviewer", "narrator", "checker", "concierge", "reader", "cli"])
def test_the_relations_come_together_to_the_grants_of_the_token(name: str) -> None:
    section = sections()[name]
    for action in Grants.__slots__:
        needed = {pattern for need in section.needs for pattern in getattr(need.grants, action)}
        assert needed == set(section.tokens[0].claims["grants"].get(action, ()))


def test_the_claims_are_those_that_are_minted() -> None:
    plan, key = make_plan(read(TEXT), None), SecretKey("sk_id_a", "s" * 40)
    exp = int(time.time()) + 60
    reviewer = plan.replicas_of("reviewer")[1]
    _, claims = verify(mint(key, reviewer.claims(exp=exp, instance="i")), {key.id: key}, exp - 60)
    assert sections()["reviewer"].tokens[1].claims == {
        name: value for name, value in claims.to_payload().items() if name not in ("exp", "instance")
    }
    assert sections()["reader"].tokens[0].claims["sub"] == "reader/{sub}"
