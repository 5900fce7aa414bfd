"""A program on the stock JavaScript SDK that claims items by the oldest messages, in one team with members of ours."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.interop.test_guide_programs import topology, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.runtime.user import User

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

MIXED = """\
version: 1
hub: {key: '${KEY}', listen: '127.0.0.1:0'}
agents:
  member: {handler: tests.interop.guide_claimers:Member, replicas: 2}
  claimer:
    command: [NODE, GUIDE/claimer.mjs]
    handles: [Try]
    environment: {CHANNEL: team_42/state, SETTLE_MS: '400'}
teams:
  desk: {channel: team_42/state, members: [member, claimer], claims: {ttl: 3s}}
users:
  reader: {asks: [member, claimer]}
"""
OURS = ("member.1", "member.2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[User]:
    async with working(topology(tmp_path_factory.mktemp("claims"), MIXED)) as crew:
        await crew.here("claimer")
        async with crew.connected("reader") as user:
            yield user


def fresh(count: int) -> list[str]:
    """Return items that nobody has claimed before: the program forgets none."""
    return [f"{secrets.token_hex(4)}-{number}" for number in range(count)]


async def claimed(user: User, peer: str, items: list[str], seconds: float = 0.0) -> set[str]:
    """Return the items that a member won. The program takes all of them for its own from then on."""
    prompt = " ".join(items) if peer == "claimer" else " ".join((str(seconds), *items))
    return set((await user.ask(peer, prompt, timeout=20)).split())


async def test_of_a_program_and_ours_that_claim_the_same_items_at_once_no_two_get_one(reader: User) -> None:
    items = fresh(60)
    won = await asyncio.gather(*(claimed(reader, peer, items, 1.0) for peer in (*OURS, "claimer")))
    for some, others in itertools.combinations(won, 2):
        assert not some & others
    given = set.union(*won)
    assert given
    # Where bids of three cross, a program that knows no Lamport time may reject what another one has rejected it for.
    left = sorted(set(items) - given)
    assert await claimed(reader, OURS[0], left) == set(left)


@pytest.mark.parametrize("ours", OURS)
async def test_what_a_program_holds_is_not_won_by_ours(reader: User, ours: str) -> None:
    items = fresh(5)
    assert await claimed(reader, "claimer", items) == set(items)
    assert await claimed(reader, ours, items) == set()


@pytest.mark.bars
async def test_what_ours_hold_is_not_won_by_a_program(reader: User) -> None:
    items = fresh(5)
    answer = reader.stream("member.1", " ".join(("4", *items)))
    assert set((await anext(answer)).split()) == set(items)
    assert await claimed(reader, "claimer", items) == set()
    assert [chunk async for chunk in answer] == []  # it held them until now, for longer than the ttl


async def test_what_ours_gave_back_can_be_claimed_by_ours_though_a_program_remembers_it(reader: User) -> None:
    items = fresh(5)
    for ours in (*OURS, *OURS):
        assert await claimed(reader, ours, items) == set(items)
