"""A slow reader slows its producer down, whoever reads; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from orchestrator import StreamTask, Workers, agent, task
from orchestrator.patterns.stream import ACK_EVERY, CREDIT_CHUNKS
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [pourer]}
workers:
  pourer: {handler: app:Pourer}
"""
ON_THE_WAY = 64
"""Tokens that may be produced before an acknowledgement arrives."""


class Pour(StreamTask[int]):
    upto: int


@agent
class Boss:
    workers: Workers


@agent
class Pourer:
    poured: int = 0

    @task
    async def pour(self, asked: Pour) -> AsyncIterator[int]:
        for number in range(asked.upto):
            self.poured += 1
            yield number


def stream(hub: TestHub, who: str, asked: Pour) -> AsyncIterator[int]:
    return hub.stream("pourer", asked) if who == "user" else hub.agent("boss").workers.stream(asked)


@virtual
@pytest.mark.parametrize("who", ["user", "coordinator"])
async def test_a_producer_stays_within_the_credit_of_a_reader_that_takes_ten_tokens_a_second(who: str) -> None:
    async with TestHub(TOPOLOGY, handlers={"boss": Boss, "pourer": Pourer}) as hub:
        producer = hub.agent("pourer")
        read = ahead = 0
        async with aclosing(cast("Any", stream(hub, who, Pour(upto=1_000_000)))) as numbers:
            until = hub.now + 60
            async for number in numbers:
                assert number == read
                read += 1
                await asyncio.sleep(0.1)
                ahead = max(ahead, producer.poured - read)
                if hub.now >= until:
                    break
        assert 590 <= read <= 601
        assert CREDIT_CHUNKS / 2 < ahead <= CREDIT_CHUNKS + ACK_EVERY + ON_THE_WAY


@virtual
@pytest.mark.parametrize("who", ["user", "coordinator"])
async def test_a_reader_that_pauses_for_a_minute_goes_on_where_it_was(who: str) -> None:
    async with TestHub(TOPOLOGY, handlers={"boss": Boss, "pourer": Pourer}) as hub:
        producer = hub.agent("pourer")
        read = []
        async for number in stream(hub, who, Pour(upto=3_000)):
            if number == 1_000:
                await asyncio.sleep(60)
                assert producer.poured <= 1_001 + CREDIT_CHUNKS + ACK_EVERY
            read.append(number)
        assert read == list(range(3_000))


@virtual
@pytest.mark.parametrize("dropped", ["pourer", "cli/test-hub"])
async def test_credit_survives_a_lost_connection(dropped: str) -> None:
    async with TestHub(TOPOLOGY, handlers={"boss": Boss, "pourer": Pourer}) as hub:
        producer = hub.agent("pourer")
        read = ahead = 0
        async for number in hub.stream("pourer", Pour(upto=1_500)):
            assert number == read
            read += 1
            await asyncio.sleep(0.05)
            ahead = max(ahead, producer.poured - read)
            if number % 300 == 100:
                hub.drop(dropped)
        assert read == 1_500
        assert ahead <= CREDIT_CHUNKS + ACK_EVERY + ON_THE_WAY
