"""A client never writes more frames than the hub's budget for its connection allows, and nearly as many."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from orchestrator import Disconnected
from orchestrator.client.budget import Budget
from orchestrator.errors import NotConnected
from orchestrator.testing import TestHub, virtual
from tests.testing.hub_agents import Helper

SPEAKING = """
version: 1
agents:
  helper: {handler: app:Helper}
users:
  speaker: {scopes: {publish: ["news/*"]}}
"""
EPSILON = 1e-6


class Bucket:
    """The hub's: it ends a connection whose frame finds the bucket empty."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst, self.level, self.at = per_second, burst, float(burst), 0.0

    def take(self, now: float) -> bool:
        self.level = min(self.burst, self.level + (now - self.at) * self.per_second) - 1
        self.at = now
        return self.level > -EPSILON


@given(
    per_second=st.floats(1, 1000),
    burst=st.integers(1, 1000),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=20),
    counts=st.lists(st.integers(1, 300), min_size=20, max_size=20),
    drift=st.floats(0.97, 1.0),
)
def test_who_waits_as_told_never_empties_the_bucket_of_the_hub(
    per_second: float, burst: int, pauses: list[float], counts: list[int], drift: float
) -> None:
    budget, bucket, now = Budget(per_second, burst), Bucket(per_second * drift, burst), 0.0
    for pause, count in zip(pauses, counts, strict=False):
        now += pause
        for _ in range(count):
            now += budget.wait(now)
            budget.spend(now)
            assert bucket.take(now)


@given(per_second=st.floats(1, 1000), burst=st.integers(1, 1000))
def test_it_costs_no_more_than_a_little_of_what_the_hub_would_take(per_second: float, burst: int) -> None:
    budget, now, count = Budget(per_second, burst), 0.0, 2 * burst + 100
    for _ in range(count):
        now += budget.wait(now)
        budget.spend(now)
    assert now <= (count - burst * 0.9 + 1) / (per_second * 0.95) + EPSILON


@pytest.mark.parametrize(
    ("told", "per_second", "burst"),
    [
        (UNSET, 100, 200),
        (Raw(b'{"per_second":7.5,"burst":9}'), 7.5, 9),
        (Raw(b'{"per_second":0,"burst":9}'), 100, 200),
        (Raw(b'{"per_second":5,"burst":0}'), 100, 200),
        (Raw(b"12"), 100, 200),
        (Raw(b"null"), 100, 200),
    ],
)
def test_what_a_welcome_grants_is_read_and_what_cannot_be_understood_is_the_protocols(
    told: Raw, per_second: float, burst: int
) -> None:
    expected, found = Budget(per_second, burst), Budget.told(told)
    for _ in range(burst * 2):
        expected.spend(0.0)
        found.spend(0.0)
        assert found.wait(0.0) == pytest.approx(expected.wait(0.0))


def test_without_a_limit_nothing_ever_waits() -> None:
    budget = Budget.told(Raw(b'"unlimited"'))
    for _ in range(10_000):
        budget.spend(0.0)
    assert budget.wait(0.0) == 0
    assert not budget.short(0.0)


@virtual
async def test_a_user_who_says_a_thousand_things_at_once_is_not_cut_off() -> None:
    async with TestHub(SPEAKING, handlers={"helper": Helper}) as hub, hub.user("speaker", "sam") as sam:
        heard: list[int] = []

        async def listen() -> None:
            async for message in hub.events("news/*"):
                heard.append(message.data)

        listening = asyncio.create_task(listen())
        await hub.advance(0.1)
        began = hub.now
        async with sam.events() as events:
            await asyncio.gather(*(sam.publish("news/all", number) for number in range(1_000)))
            took = hub.now - began
            await hub.advance(1)
        assert heard == list(range(1_000))
        assert 8 <= took <= 9.5
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert [event async for event in events if isinstance(event, Disconnected)] == []


@virtual
async def test_what_waited_for_its_turn_when_the_connection_ended_was_not_sent() -> None:
    async with TestHub(SPEAKING, handlers={"helper": Helper}) as hub, hub.user("speaker", "sam") as sam:
        saying = [asyncio.create_task(sam.publish("news/all", number)) for number in range(1_000)]
        await hub.advance(1)
        saying[-2].cancel()
        hub.drop("speaker/sam")
        said = await asyncio.gather(*saying, return_exceptions=True)
        sent = [number for number, outcome in enumerate(said) if outcome == 0]
        assert sent == list(range(len(sent)))
        assert 250 < len(sent) < 310
        assert isinstance(said[-2], asyncio.CancelledError)
        assert all(isinstance(outcome, NotConnected) for outcome in [*said[len(sent) + 5 : -2], said[-1]])
        await hub.advance(5)
        assert await sam.publish("news/all", "again") == 0
