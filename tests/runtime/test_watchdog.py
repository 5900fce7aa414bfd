from __future__ import annotations

import asyncio

import pytest

from orchestrator.runtime.watchdog import LAST_WORDS, SECOND_LOOK, Watchdog
from orchestrator.testing.clock import virtual

PATIENCE = 5.0


class Victim:
    """Notes when it is bitten, and when it is killed."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.told: list[tuple[str, float]] = []
        self.dog = Watchdog(PATIENCE, lambda: self._note("blocked"), lambda: self._note("killed"))

    def _note(self, what: str) -> None:
        self.told.append((what, self.loop.time() - self.began))


@virtual
async def test_who_gives_signs_of_life_is_left_alone() -> None:
    victim = Victim()
    for _ in range(100):
        victim.dog.beat()
        await asyncio.sleep(PATIENCE)
    assert victim.told == []
    victim.dog.stop()


@virtual
async def test_nobody_is_waited_for_before_the_first_sign() -> None:
    victim = Victim()
    await asyncio.sleep(1_000)
    assert victim.told == []


@virtual
async def test_who_is_silent_has_a_second_look_then_last_words_and_is_killed_once() -> None:
    victim = Victim()
    victim.dog.beat()
    await asyncio.sleep(1_000)
    bitten = PATIENCE + SECOND_LOOK
    assert [what for what, _ in victim.told] == ["blocked", "killed"]
    assert [at for _, at in victim.told] == pytest.approx([bitten, bitten + LAST_WORDS])


@virtual
async def test_a_sign_at_the_second_look_is_in_time_and_one_after_it_is_not() -> None:
    victim = Victim()
    victim.dog.beat()
    await asyncio.sleep(PATIENCE + SECOND_LOOK / 2)
    victim.dog.beat()
    await asyncio.sleep(PATIENCE + SECOND_LOOK + LAST_WORDS / 2)
    assert [what for what, _ in victim.told] == ["blocked"]
    victim.dog.beat()
    await asyncio.sleep(1_000)
    assert [what for what, _ in victim.told] == ["blocked", "killed"]


@virtual
async def test_who_ends_is_not_waited_for() -> None:
    for silent in (0.0, PATIENCE + SECOND_LOOK / 2, PATIENCE + SECOND_LOOK + LAST_WORDS / 2):
        victim = Victim()
        victim.dog.beat()
        await asyncio.sleep(silent)
        before = len(victim.told)
        victim.dog.stop()
        victim.dog.beat()
        await asyncio.sleep(1_000)
        assert len(victim.told) == before
