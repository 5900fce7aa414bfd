"""Dispatch to programs that join no pool, accept nothing and give no sign of life: only the hub tells of them."""

from __future__ import annotations

import pytest
from msgspec import Raw

from orchestrator.errors import NoWorkerAvailable, PeerNotFound, TaskTimeout, WorkerLost
from orchestrator.patterns.dispatch import LAST_LOOK, LOST_GRACE, PROBE_SECONDS, Dispatcher
from orchestrator.patterns.effects import Accepted, Refused, Send, Unanswered
from orchestrator.patterns.jobs import Effect, Finished
from orchestrator.patterns.workforce import ABSENT_PAUSE, FULL_PAUSE, RETURN_SECONDS, Pool, Workforce
from orchestrator.protocol.payloads import TaskResult
from tests.patterns.test_dispatch import ends, error_of, offers, order

POOL = Pool("shouter", {"Once": False}, peers=("shouter",), capabilities=frozenset({"loud"}))
GONE = Refused(PeerNotFound("peer_not_found", "the peer is not connected", "shouter"))


def dispatcher(pool: Pool = POOL) -> Dispatcher:
    engine = Dispatcher("boss", Workforce([pool]))
    engine.connected(-RETURN_SECONDS)
    return engine


def busy() -> Dispatcher:
    """A dispatcher whose program has been handed a task, and has said nothing since."""
    engine = dispatcher()
    assert offers(engine.submit(order(), 0.0)) == [("t1", "shouter", 1)]
    assert engine.answered(("t1", 1), Accepted(1), 0.1) == []
    return engine


def asks(effects: list[Effect]) -> bool:
    """Whether the hub is asked if the program is there."""
    return any(isinstance(effect, Send) and effect.ref == ("probe", "t1") for effect in effects)


def test_a_result_without_attempt_load_or_a_word_before_it_ends_its_task() -> None:
    [end] = ends(busy().receive("shouter", TaskResult("t1", Raw(b'"X"')), 30.0))
    assert end == Finished("t1", Raw(b'"X"'))


def test_one_that_is_connected_may_be_silent_until_the_deadline() -> None:
    engine = busy()
    for probe in range(1, int(60.0 / PROBE_SECONDS)):
        assert asks(engine.tick(probe * PROBE_SECONDS))
        assert engine.probed("t1", Accepted(), probe * PROBE_SECONDS + 0.1) == []
    assert isinstance(error_of(engine.tick(60.0)), TaskTimeout)


def test_one_that_is_gone_is_given_up_soon_after_a_look_at_it() -> None:
    engine = busy()
    assert asks(engine.tick(PROBE_SECONDS))
    engine.probed("t1", GONE, PROBE_SECONDS)
    assert asks(engine.tick(PROBE_SECONDS + LOST_GRACE - LAST_LOOK))
    assert engine.probed("t1", GONE, PROBE_SECONDS + LOST_GRACE - LAST_LOOK) == []
    assert isinstance(error_of(engine.tick(PROBE_SECONDS + LOST_GRACE)), WorkerLost)


def test_one_that_was_away_for_a_moment_keeps_its_task() -> None:
    engine = busy()
    assert asks(engine.tick(PROBE_SECONDS))
    engine.probed("t1", GONE, PROBE_SECONDS)
    look = PROBE_SECONDS + LOST_GRACE - LAST_LOOK
    assert asks(engine.tick(look))
    engine.probed("t1", Accepted(), look)
    assert engine.tick(look + LAST_LOOK) == []
    assert ends(engine.receive("shouter", TaskResult("t1"), 50.0))


def test_one_that_returns_after_its_coordinator_keeps_its_task() -> None:
    """After a hub has come back everybody returns at about the same time, in any order."""
    engine = busy()
    engine.disconnected()
    assert asks(engine.connected(2.0))
    engine.probed("t1", GONE, 2.1)
    assert asks(engine.tick(2.0 + RETURN_SECONDS - LAST_LOOK))
    engine.probed("t1", Accepted(), 2.0 + RETURN_SECONDS - LAST_LOOK)
    assert engine.tick(2.0 + RETURN_SECONDS) == []


def test_a_task_that_may_have_been_lost_on_its_way_waits_for_its_deadline() -> None:
    """The program would not say that it knows nothing of it."""
    engine = dispatcher()
    engine.submit(order(), 0.0)
    engine.disconnected()
    engine.answered(("t1", 1), Unanswered(), 0.1)
    assert asks(engine.connected(1.0))
    engine.probed("t1", Accepted(), 1.1)
    assert not ends(engine.tick(30.0))
    assert isinstance(error_of(engine.tick(60.0)), TaskTimeout)


def test_when_nobody_is_there_that_is_said_at_once() -> None:
    engine = dispatcher()
    engine.submit(order(), 0.0)
    assert isinstance(error_of(engine.answered(("t1", 1), Accepted(0), 0.1)), NoWorkerAvailable)


def test_right_after_a_connect_one_that_is_not_there_yet_is_tried_again() -> None:
    engine = Dispatcher("boss", Workforce([POOL]))
    engine.connected(0.0)
    engine.submit(order(), 0.0)
    attempt, now = 1, 0.0
    while now < RETURN_SECONDS:
        assert engine.answered(("t1", attempt), Accepted(0), now) == []
        attempt, now = attempt + 1, now + min(FULL_PAUSE * 2 ** (attempt - 1), ABSENT_PAUSE)
        assert offers(engine.tick(now)) == [("t1", "shouter", attempt)]
    assert isinstance(error_of(engine.answered(("t1", attempt), Accepted(0), now)), NoWorkerAvailable)


def test_it_has_one_task_at_a_time() -> None:
    engine = busy()
    assert engine.submit(order("t2"), 1.0) == []
    assert offers(engine.receive("shouter", TaskResult("t1"), 2.0)) == [("t2", "shouter", 1)]


@pytest.mark.parametrize(("capability", "able"), [("loud", True), ("polite", False)])
def test_what_it_is_able_to_do_is_what_the_topology_says(capability: str, able: bool) -> None:
    effects = dispatcher().submit(order("t1", "Once", 60.0, capability), 0.0)
    assert bool(offers(effects)) is able
    assert bool(ends(effects)) is not able
