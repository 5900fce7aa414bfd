"""What every store promises of tasks. The same tests run over all adapters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.store.errors import LeaseLost
from orchestrator.store.tasks import Backoff, Ending, Failure, Hold, Outcome, State, Verdict
from tests.store.task_stores import WORDS, Setting, new, say

BOOM = Failure("ValueError", "boom", ("agents/newsroom.py:41 in research",))


# -- from stored to done


async def test_a_task_is_claimed_as_it_was_stored(store: Setting) -> None:
    more: dict[str, Any] = {
        "payload": b'{"topic":"\xc3\xa9"}',
        "traceparent": "00-1-2-01",
        "key": "k",
        "timeout": 7.5,
        "max_attempts": 4,
    }
    await store.stored(**more)
    leased = await store.leased()
    assert leased.hold.id == "t1"
    assert leased.hold.worker == "helper.1"
    assert leased.type == "Research"
    assert leased.caller == "boss"
    assert leased.attempt == 1
    assert {name: getattr(leased, name) for name in more} == more


async def test_a_completed_task_has_its_result_and_is_given_to_nobody(store: Setting) -> None:
    hold = await store.held()
    await store.tasks.complete(hold, b'"facts"')
    assert await store.tasks.result("t1") == Outcome("t1", State.DONE, b'"facts"', None, 1, "helper.1")
    claimed = await store.claim()
    assert claimed.tasks == ()
    assert claimed.next_due is None


async def test_a_task_that_has_not_ended_has_no_result(store: Setting) -> None:
    await store.stored()
    assert await store.tasks.result("t1") is None
    await store.leased()
    assert await store.tasks.result("t1") is None


async def test_completing_again_changes_nothing(store: Setting) -> None:
    hold = await store.held()
    await store.tasks.complete(hold, b"1")
    await store.tasks.complete(hold, b"2")
    outcome = await store.tasks.result("t1")
    assert outcome is not None
    assert outcome.result == b"1"


async def test_queues_have_nothing_to_do_with_each_other(store: Setting) -> None:
    await store.stored(queue="writer")
    assert (await store.claim()).tasks == ()
    assert (await store.leased(queue="writer")).hold.id == "t1"


async def test_all_tasks_of_one_request_are_stored_and_keep_their_order(store: Setting) -> None:
    names = [f"t{number}" for number in range(300)]
    stored = await store.tasks.enqueue([new(name) for name in names])
    assert [each.id for each in stored] == names
    assert all(each.fresh for each in stored)
    assert await store.claimed_ids(limit=1_000) == names


async def test_nothing_is_stored_of_no_tasks(store: Setting) -> None:
    assert await store.tasks.enqueue([]) == ()


# -- who gets what, and when


async def test_the_greater_priority_goes_first_and_equals_in_their_order(store: Setting) -> None:
    for name, priority in (("low", -1), ("first", 5), ("none", 0), ("second", 5)):
        await store.stored(name, priority=priority)
    assert await store.claimed_ids() == ["first", "second", "none", "low"]


async def test_priorities_hold_between_tasks_of_different_needs(store: Setting) -> None:
    await store.stored("plain", priority=1)
    await store.stored("web", priority=2, requires=frozenset({"web"}))
    await store.stored("pdf", priority=0, requires=frozenset({"pdf"}))
    await store.stored("later", priority=1, requires=frozenset({"pdf", "web"}))
    assert await store.claimed_ids("web", "pdf", limit=3) == ["web", "plain", "later"]


async def test_a_worker_gets_only_what_it_is_able_to_do(store: Setting) -> None:
    await store.stored("web", requires=frozenset({"web", "pdf"}))
    assert await store.claimed_ids("web") == []
    assert (await store.claim("helper.1", "web")).next_due is None
    assert await store.claimed_ids("pdf", "web", "ocr") == ["web"]


async def test_a_claim_takes_no_more_than_its_limit_and_says_that_there_is_more(store: Setting) -> None:
    await store.tasks.enqueue([new(name) for name in "abc"])
    claimed = await store.claim(limit=2)
    assert [leased.hold.id for leased in claimed.tasks] == ["a", "b"]
    assert claimed.next_due == 0


async def test_a_claim_stops_after_so_many_bytes_and_takes_one_task_at_least(store: Setting) -> None:
    huge = b"x" * (9 * 1_048_576)
    await store.tasks.enqueue([new("a", payload=huge), new("b", payload=huge), new("c")])
    assert await store.claimed_ids() == ["a"]
    assert await store.claimed_ids() == ["b"]
    assert await store.claimed_ids() == ["c"]


async def test_a_delayed_task_waits_for_its_time_and_a_claim_tells_when_that_is(store: Setting) -> None:
    await store.stored(delay=10, priority=9)
    claimed = await store.claim()
    assert claimed.tasks == ()
    assert claimed.next_due == pytest.approx(10)
    store.clock.now += 9
    assert (await store.claim()).next_due == pytest.approx(1)
    store.clock.now += 1
    assert await store.claimed_ids() == ["t1"]


async def test_many_callers_at_once_get_each_task_once(store: Setting) -> None:
    names = {f"t{number}" for number in range(500)}
    await store.tasks.enqueue([new(name) for name in sorted(names)])
    taken: list[str] = []

    async def worker(number: int) -> None:
        while claimed := (await store.claim(f"helper.{number}", limit=number % 3 + 1)).tasks:
            for leased in claimed:
                taken.append(leased.hold.id)
                await store.tasks.complete(leased.hold, b"1")

    await asyncio.gather(*(worker(number) for number in range(20)))
    assert sorted(taken) == sorted(names)
    (stats,) = await store.tasks.stats()
    assert (stats.done, stats.open) == (500, 0)


@pytest.mark.parametrize(("limit", "lease"), [(0, 1), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))])
async def test_a_claim_that_makes_no_sense_is_refused(store: Setting, limit: int, lease: float) -> None:
    with pytest.raises(ValueError, match=r"claim|lease"):
        await store.tasks.claim("helper", "helper.1", limit=limit, lease=lease)


# -- leases and fences


async def test_a_lease_that_runs_out_lets_somebody_else_have_the_task(store: Setting) -> None:
    first = await store.held()
    assert (await store.claim("helper.2")).next_due == pytest.approx(30)
    store.clock.now += 30
    second = await store.leased("helper.2")
    assert second.attempt == 2
    assert second.hold.fence > first.fence


async def test_an_extended_lease_lasts_from_then_on(store: Setting) -> None:
    hold = await store.held()
    for _ in range(3):
        store.clock.now += 20
        await store.tasks.extend(hold, 30)
    assert (await store.claim("helper.2")).tasks == ()
    assert (await store.claim("helper.2")).next_due == pytest.approx(30)
    await store.tasks.complete(hold, b"1")


@pytest.mark.parametrize("word", WORDS)
async def test_who_is_late_is_refused_though_nobody_has_taken_the_task(store: Setting, word: str) -> None:
    hold = await store.held()
    store.clock.now += 30
    with pytest.raises(LeaseLost):
        await say(store, word, hold)
    assert (await store.leased("helper.2")).attempt == 2


@pytest.mark.parametrize("word", WORDS)
async def test_who_is_late_is_refused_and_does_not_disturb_the_next(store: Setting, word: str) -> None:
    late = await store.held()
    store.clock.now += 30
    next_one = await store.leased("helper.1")
    with pytest.raises(LeaseLost):
        await say(store, word, late)
    await store.tasks.complete(next_one.hold, b"2")
    with pytest.raises(LeaseLost):
        await say(store, word, late)


@pytest.mark.parametrize("word", WORDS)
async def test_a_hold_is_of_one_worker_one_fence_and_one_task(store: Setting, word: str) -> None:
    hold = await store.held()
    for wrong in (
        Hold(hold.id, hold.fence, "helper.2"),
        Hold(hold.id, hold.fence + 1, hold.worker),
        Hold("t2", hold.fence, hold.worker),
    ):
        with pytest.raises(LeaseLost):
            await say(store, word, wrong)
    await store.tasks.extend(hold, 30)


@pytest.mark.parametrize("word", WORDS)
async def test_nothing_is_said_of_a_task_that_was_done(store: Setting, word: str) -> None:
    hold = await store.held()
    await store.tasks.complete(hold, b"1")
    if word == "complete":
        await say(store, word, hold)
    else:
        with pytest.raises(LeaseLost):
            await say(store, word, hold)


async def test_fences_grow_over_a_task_that_is_purged_and_stored_again(store: Setting) -> None:
    hold = await store.held()
    await store.tasks.complete(hold, b"1")
    store.clock.now += 1
    assert await store.tasks.purge(0) == 1
    again = await store.held()
    assert again.fence > hold.fence


# -- failures


async def test_a_failed_task_is_due_again_within_its_backoff(store: Setting) -> None:
    hold = await store.held(backoff=Backoff(4, 60))
    verdict = await store.tasks.fail(hold, BOOM)
    assert verdict.state is State.READY
    assert verdict.retry_in is not None
    assert 0 <= verdict.retry_in <= 4
    assert (await store.claim()).next_due == pytest.approx(verdict.retry_in)
    store.clock.now += verdict.retry_in
    assert (await store.leased()).attempt == 2


async def test_the_pauses_are_random_and_grow_to_their_greatest(store: Setting) -> None:
    await store.stored(backoff=Backoff(1, 8), max_attempts=30)
    pauses = []
    for _ in range(29):
        verdict = await store.tasks.fail((await store.leased()).hold, BOOM)
        assert verdict.retry_in is not None
        pauses.append(verdict.retry_in)
        store.clock.now += verdict.retry_in
    assert all(pause <= min(8, 2**number) for number, pause in enumerate(pauses))
    assert len(set(pauses)) == len(pauses)
    assert max(pauses) > 4


async def test_failing_again_changes_nothing_and_says_the_same(store: Setting) -> None:
    hold = await store.held(backoff=Backoff(4, 60))
    first = await store.tasks.fail(hold, BOOM)
    second = await store.tasks.fail(hold, Failure("Other", "again"))
    assert second.state is first.state
    assert second.retry_in == pytest.approx(first.retry_in)
    assert len((await store.tasks.get("t1")).attempts) == 1


async def test_a_task_that_failed_as_often_as_it_may_is_dead_with_every_attempt(store: Setting) -> None:
    await store.stored(max_attempts=3, backoff=Backoff(0, 0))
    began = store.clock.now
    for number in (1, 2):
        await store.tasks.fail((await store.leased(f"helper.{number}")).hold, Failure("ValueError", f"boom {number}"))
        store.clock.now += 1
    await store.leased("helper.3")
    store.clock.now += 30
    assert (await store.claim()).tasks == ()
    history = await store.tasks.get("t1")
    assert history.info.state is State.DEAD
    assert [(each.number, each.worker, each.ending) for each in history.attempts] == [
        (1, "helper.1", Ending.FAILED),
        (2, "helper.2", Ending.FAILED),
        (3, "helper.3", Ending.LAPSED),
    ]
    assert [each.failure.message for each in history.attempts[:2] if each.failure] == ["boom 1", "boom 2"]
    assert [(each.began - began, each.ended) for each in history.attempts][1] == (1, began + 1)
    outcome = await store.tasks.result("t1")
    assert outcome is not None
    assert outcome.state is State.DEAD
    assert outcome.failure is not None
    assert "helper.3" in outcome.failure.message
    assert [info.id for info in await store.tasks.dead()] == ["t1"]


async def test_an_attempt_that_does_not_count_is_made_up_for_and_kept_in_the_history(store: Setting) -> None:
    cut = Failure("TaskCancelled", "the agent stopped before the task had ended")
    hold = await store.held(max_attempts=2, backoff=Backoff(4, 60))
    for number in (1, 2, 3):
        assert await store.tasks.fail(hold, cut, counts=False) == Verdict(State.READY, 0.0)
        leased = await store.leased()
        assert (leased.attempt, leased.max_attempts) == (number + 1, number + 2)
        hold = leased.hold
    history = await store.tasks.get("t1")
    assert [(each.number, each.ending, each.failure) for each in history.attempts[:3]] == [
        (number, Ending.FAILED, cut) for number in (1, 2, 3)
    ]
    await store.tasks.fail(hold, BOOM)
    store.clock.now += 60
    assert (await store.tasks.fail((await store.leased()).hold, BOOM)).state is State.DEAD


async def test_a_failure_that_cannot_do_better_is_final(store: Setting) -> None:
    hold = await store.held()
    verdict = await store.tasks.fail(hold, BOOM, retry=False)
    assert (verdict.state, verdict.retry_in) == (State.DEAD, None)
    (info,) = await store.tasks.dead()
    assert info.failure == BOOM
    assert (await store.tasks.fail(hold, BOOM)).state is State.DEAD


async def test_a_last_attempt_that_lapses_ends_the_task_for_those_who_look(store: Setting) -> None:
    await store.held(max_attempts=1)
    store.clock.now += 30
    outcome = await store.tasks.result("t1")
    assert outcome is not None
    assert outcome.state is State.DEAD


async def test_a_released_task_is_due_at_once_and_its_attempt_does_not_count(store: Setting) -> None:
    await store.stored("t0")
    await store.stored("t1")
    hold = (await store.leased()).hold
    await store.tasks.release(hold)
    await store.tasks.release(hold)
    again = await store.leased("helper.2")
    assert (again.hold.id, again.attempt) == ("t0", 1)
    with pytest.raises(LeaseLost):
        await store.tasks.release(hold)
    await store.tasks.complete(again.hold, b"1")
    history = await store.tasks.get("t0")
    assert [(each.worker, each.ending) for each in history.attempts] == [("helper.2", Ending.DONE)]


# -- what a worker takes back


async def test_a_worker_that_starts_again_gets_back_what_its_earlier_process_had(store: Setting) -> None:
    await store.tasks.enqueue([new("a"), new("b"), new("c", max_attempts=1), new("d")])
    holds = {leased.hold.id: leased.hold for leased in (await store.claim("helper.1", limit=3)).tasks}
    await store.leased("helper.2")
    assert await store.tasks.reclaim("helper", "helper.1", held=["b"]) == 2
    assert await store.claimed_ids() == ["a"]
    history = await store.tasks.get("a")
    assert [(each.number, each.ending) for each in history.attempts] == [(1, Ending.LAPSED), (2, None)]
    failure = history.attempts[0].failure
    assert failure is not None
    assert (failure.type, "helper.1" in failure.message) == ("WorkerLost", True)
    assert (await store.tasks.get("c")).info.state is State.DEAD
    await store.tasks.complete(holds["b"], b"1")
    assert (await store.tasks.get("d")).info.worker == "helper.2"


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("word", ["extend", "complete", "fail", "once"])
async def test_whoever_still_speaks_of_what_was_taken_back_is_late(store: Setting, word: str, begun: bool) -> None:
    hold = await store.held()
    assert await store.tasks.reclaim("helper", "helper.1", begun=begun) == 1
    with pytest.raises(LeaseLost):
        await say(store, word, hold)
    again = await store.leased("helper.2")
    assert again.hold.fence > hold.fence
    with pytest.raises(LeaseLost):
        await say(store, word, hold)
    await store.tasks.complete(again.hold, b"1")


async def test_what_was_claimed_unheard_is_given_back_as_if_never_claimed(store: Setting) -> None:
    await store.held(max_attempts=1)
    assert await store.tasks.reclaim("helper", "helper.1", begun=False) == 1
    assert (await store.leased()).attempt == 1
    assert [each.ending for each in (await store.tasks.get("t1")).attempts] == [None]


async def test_only_what_is_leased_to_this_worker_in_this_queue_is_taken_back(store: Setting) -> None:
    await store.tasks.complete(await store.held("done"), b"1")
    await store.stored("later", delay=5)
    await store.stored("elsewhere", queue="writer")
    await store.tasks.claim("writer", "helper.1")
    assert await store.tasks.reclaim("helper", "helper.1") == 0
    assert await store.tasks.reclaim("nowhere", "helper.1") == 0
    assert (await store.tasks.get("elsewhere")).info.state is State.LEASED


async def test_what_is_taken_back_after_its_time_is_dead_like_any_expired_task(store: Setting) -> None:
    await store.held(expires=5)
    store.clock.now += 5
    assert await store.tasks.reclaim("helper", "helper.1") == 1
    history = await store.tasks.get("t1")
    assert history.info.state is State.DEAD
    assert history.info.failure is not None
    assert history.info.failure.type == "TaskExpired"
