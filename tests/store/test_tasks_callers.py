"""What every store promises of tasks that are stored twice, expire, are cancelled, looked at and forgotten."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.store.errors import LeaseLost, TaskExists, UnknownTask
from orchestrator.store.tasks import Backoff, Effect, Ending, Failure, State
from tests.store.task_stores import WORDS, Setting, new, say

BOOM = Failure("ValueError", "boom")


# -- storing twice


async def test_storing_a_task_again_stores_nothing(store: Setting) -> None:
    await store.stored()
    (again,) = await store.tasks.enqueue([new()])
    assert (again.id, again.fresh, again.state, again.outcome) == ("t1", False, State.READY, None)
    assert await store.claimed_ids() == ["t1"]


async def test_a_request_that_is_half_known_stores_the_other_half(store: Setting) -> None:
    await store.stored("t2")
    stored = await store.tasks.enqueue([new("t1"), new("t2"), new("t3"), new("t3")])
    assert [(each.id, each.fresh) for each in stored] == [("t1", True), ("t2", False), ("t3", True), ("t3", False)]
    assert sorted(await store.claimed_ids()) == ["t1", "t2", "t3"]


async def test_a_key_returns_the_first_task_and_its_result(store: Setting) -> None:
    hold = await store.held("first", key="k")
    (running,) = await store.tasks.enqueue([new("second", key="k", payload=b"2")])
    assert (running.id, running.fresh, running.state) == ("first", False, State.LEASED)
    await store.tasks.complete(hold, b'"once"')
    (done,) = await store.tasks.enqueue([new("third", key="k")])
    assert done.id == "first"
    assert done.outcome is not None
    assert done.outcome.result == b'"once"'
    with pytest.raises(UnknownTask):
        await store.tasks.get("second")


async def test_a_key_holds_within_one_request(store: Setting) -> None:
    stored = await store.tasks.enqueue([new("a", key="k"), new("b", key="k")])
    assert [(each.id, each.fresh) for each in stored] == [("a", True), ("a", False)]


@pytest.mark.parametrize("other", [{"caller": "other"}, {"queue": "writer"}, {"type": "Other"}, {"key": "other"}])
async def test_a_key_is_of_one_caller_queue_and_type(store: Setting, other: dict[str, str]) -> None:
    await store.stored("a", key="k")
    (stored,) = await store.tasks.enqueue([new("b", **{"key": "k", **other})])
    assert (stored.id, stored.fresh) == ("b", True)


async def test_a_key_holds_whatever_the_second_task_requires(store: Setting) -> None:
    await store.stored("a", key="k")
    assert await store.stored("b", key="k", requires=frozenset({"web"})) == "a"


async def test_callers_at_once_with_one_key_store_one_task(store: Setting) -> None:
    stored = await asyncio.gather(*(store.stored(f"t{number}", key="k") for number in range(50)))
    assert len(set(stored)) == 1
    assert len(await store.claimed_ids()) == 1


async def test_an_id_of_another_caller_refuses_the_whole_request(store: Setting) -> None:
    await store.stored("t1")
    with pytest.raises(TaskExists):
        await store.tasks.enqueue([new("t0", caller="other"), new("t1", caller="other")])
    with pytest.raises(UnknownTask):
        await store.tasks.get("t0")


async def test_a_key_is_free_again_after_its_task_was_purged(store: Setting) -> None:
    await store.tasks.complete(await store.held("a", key="k"), b"1")
    await store.tasks.purge(0)
    assert await store.stored("b", key="k") == "b"


# -- expiry


async def test_nobody_begins_with_a_task_that_has_expired(store: Setting) -> None:
    await store.stored("old", expires=5, priority=1)
    await store.stored("new")
    store.clock.now += 5
    assert await store.claimed_ids() == ["new"]
    outcome = await store.tasks.result("old")
    assert outcome is not None
    assert outcome.state is State.DEAD
    assert outcome.attempt == 0
    assert outcome.failure is not None
    assert outcome.failure.type == "TaskExpired"


async def test_an_expired_task_has_ended_for_those_who_look_though_nobody_claims(store: Setting) -> None:
    await store.stored("a", expires=5)
    await store.stored("b", expires=5, delay=9)
    await store.stored("c", expires=5)
    assert await store.tasks.sweep() == pytest.approx(5)
    store.clock.now += 5
    assert (await store.tasks.get("a")).info.state is State.DEAD
    assert {info.id for info in await store.tasks.dead()} == {"a", "b", "c"}
    assert await store.tasks.sweep() is None


async def test_whoever_has_begun_may_end_a_task_that_has_expired_since(store: Setting) -> None:
    hold = await store.held(expires=5)
    store.clock.now += 6
    await store.tasks.complete(hold, b"1")


async def test_an_expired_task_is_not_tried_again(store: Setting) -> None:
    hold = await store.held(expires=5, backoff=Backoff(0, 0))
    store.clock.now += 6
    await store.tasks.fail(hold, BOOM)
    assert await store.claimed_ids() == []
    assert (await store.tasks.get("t1")).info.state is State.DEAD


# -- what a caller may do


async def test_a_cancelled_task_is_given_to_nobody(store: Setting) -> None:
    await store.stored()
    assert await store.tasks.cancel("t1") is State.CANCELLED
    assert await store.claimed_ids() == []
    outcome = await store.tasks.result("t1")
    assert outcome is not None
    assert (outcome.state, outcome.result, outcome.failure) == (State.CANCELLED, None, None)


@pytest.mark.parametrize("word", WORDS)
async def test_whoever_holds_a_cancelled_task_is_told(store: Setting, word: str) -> None:
    hold = await store.held()
    await store.tasks.cancel("t1")
    with pytest.raises(LeaseLost, match="cancelled"):
        await say(store, word, hold)
    (attempt,) = (await store.tasks.get("t1")).attempts
    assert attempt.ending is Ending.CANCELLED


async def test_a_task_that_has_ended_is_not_cancelled(store: Setting) -> None:
    await store.tasks.complete(await store.held(), b"1")
    assert await store.tasks.cancel("t1") is State.DONE


async def test_a_caller_reaches_its_own_tasks_only(store: Setting) -> None:
    await store.stored()
    for asked in (store.tasks.cancel, store.tasks.result, store.tasks.get):
        with pytest.raises(UnknownTask):
            await asked("t1", caller="other")
    assert await store.tasks.list(caller="other") == ()
    assert (await store.tasks.get("t1", caller="boss")).payload == b"{}"


async def test_what_is_not_there_is_unknown(store: Setting) -> None:
    for asked in (store.tasks.cancel, store.tasks.result, store.tasks.get):
        with pytest.raises(UnknownTask, match="t1"):
            await asked("t1")
    with pytest.raises(UnknownTask):
        await store.tasks.list(before="t1")


# -- effects


async def test_an_effect_is_recorded_once_over_all_attempts(store: Setting) -> None:
    hold = await store.held()
    assert await store.tasks.once(hold, "charge") == Effect(True, "t1", hold.fence)
    assert await store.tasks.once(hold, "charge") == Effect(False, "t1", hold.fence)
    store.clock.now += 30
    again = (await store.leased("helper.2")).hold
    assert await store.tasks.once(again, "charge") == Effect(False, "t1", hold.fence)
    assert (await store.tasks.once(again, "mail")).first


async def test_an_effect_is_recorded_once_over_all_tasks_of_a_queue(store: Setting) -> None:
    first = await store.held("a")
    second = await store.held("b")
    await store.stored("c", queue="writer")
    third = (await store.leased(queue="writer")).hold
    assert (await store.tasks.once(first, "charge")).first
    assert await store.tasks.once(second, "charge") == Effect(False, "a", first.fence)
    assert (await store.tasks.once(third, "charge")).first


async def test_an_effect_is_forgotten_with_its_task(store: Setting) -> None:
    hold = await store.held("a")
    await store.tasks.once(hold, "charge")
    await store.tasks.complete(hold, b"1")
    await store.tasks.purge(0)
    assert (await store.tasks.once(await store.held("b"), "charge")).first


# -- what people look at


async def test_tasks_are_listed_by_what_is_asked_for_the_last_first(store: Setting) -> None:
    await store.tasks.complete(await store.held("a"), b"1")
    await store.stored("b", queue="writer", caller="chief")
    await store.stored("c", priority=3, requires=frozenset({"web"}), key="k")
    listed = await store.tasks.list()
    assert [info.id for info in listed] == ["c", "b", "a"]
    assert (listed[0].priority, listed[0].requires, listed[0].key) == (3, frozenset({"web"}), "k")
    assert [info.id for info in await store.tasks.list(states={State.DONE, State.LEASED})] == ["a"]
    assert [info.id for info in await store.tasks.list(queue="writer")] == ["b"]
    assert [info.id for info in await store.tasks.list(caller="boss")] == ["c", "a"]
    assert [info.id for info in await store.tasks.list(limit=1)] == ["c"]
    assert [info.id for info in await store.tasks.list(before="c")] == ["b", "a"]


async def test_a_task_under_way_shows_the_attempt(store: Setting) -> None:
    hold = await store.held()
    (attempt,) = (await store.tasks.get("t1")).attempts
    assert (attempt.fence, attempt.worker, attempt.ended, attempt.ending) == (hold.fence, "helper.1", None, None)


async def test_the_states_are_counted_by_queue(store: Setting) -> None:
    await store.tasks.complete(await store.held("a"), b"1")
    await store.held("b")
    await store.tasks.fail(await store.held("c"), BOOM, retry=False)
    await store.stored("d", delay=5)
    await store.stored("e")
    await store.stored("f", queue="writer")
    await store.tasks.cancel("f")
    helper, writer = await store.tasks.stats()
    assert helper.queue == "helper"
    assert (helper.ready, helper.later, helper.leased, helper.done, helper.dead, helper.cancelled) == (1, 1, 1, 1, 1, 0)
    assert (writer.open, writer.cancelled) == (0, 1)
    store.clock.now += 5
    assert (await store.tasks.stats())[0].ready == 2


async def test_the_dead_are_retried_with_all_attempts_before_them(store: Setting) -> None:
    for name in ("a", "b", "c"):
        await store.tasks.fail(await store.held(name, max_attempts=1), BOOM)
    assert await store.tasks.retry_dead(["b", "nobody"]) == 1
    leased = await store.leased()
    assert (leased.hold.id, leased.attempt) == ("b", 1)
    await store.tasks.complete(leased.hold, b"1")
    assert [each.number for each in (await store.tasks.get("b")).attempts] == [1, 1]
    outcome = await store.tasks.result("b")
    assert outcome is not None
    assert outcome.failure is None
    assert await store.tasks.retry_dead(queue="writer") == 0
    assert await store.tasks.retry_dead() == 2
    assert await store.claimed_ids() == ["a", "c"]


async def test_an_expired_task_that_is_retried_does_not_expire_again(store: Setting) -> None:
    await store.stored(expires=5)
    store.clock.now += 5
    assert await store.claimed_ids() == []
    assert await store.tasks.retry_dead() == 1
    assert await store.claimed_ids() == ["t1"]


async def test_what_ended_long_enough_ago_is_purged(store: Setting) -> None:
    await store.tasks.complete(await store.held("a"), b"1")
    await store.stored("b")
    await store.tasks.cancel("b")
    store.clock.now += 10
    await store.tasks.complete(await store.held("c"), b"1")
    await store.stored("d")
    assert await store.tasks.purge(10, states={State.DONE, State.READY}) == 1
    assert [info.id for info in await store.tasks.list()] == ["d", "c", "b"]
    assert await store.tasks.purge(5) == 1
    assert [info.id for info in await store.tasks.list()] == ["d", "c"]


async def test_more_is_purged_and_retried_than_is_done_at_once(store: Setting) -> None:
    await store.tasks.enqueue([new(f"t{number}", expires=1) for number in range(2_500)])
    store.clock.now += 1
    (stats,) = await store.tasks.stats()
    assert stats.dead == 2_500
    assert await store.tasks.retry_dead() == 2_500
    (stats,) = await store.tasks.stats()
    assert stats.ready == 2_500
    for info in await store.tasks.list(limit=2_500):
        assert info.state is State.READY
    await asyncio.gather(*(store.tasks.cancel(f"t{number}") for number in range(2_500)))
    assert await store.tasks.purge(0) == 2_500
    assert await store.tasks.list() == ()


async def test_the_origin_of_a_task_is_told_to_its_worker_and_to_those_who_look(store: Setting) -> None:
    await store.stored(origin="boss.2")
    assert (await store.leased()).origin == "boss.2"
    assert (await store.tasks.get("t1")).info.origin == "boss.2"


# -- many outcomes at once


async def test_outcomes_are_told_of_those_that_are_there(store: Setting) -> None:
    await store.tasks.complete(await store.held("done"), b"1")
    await store.tasks.fail(await store.held("dead"), BOOM, retry=False)
    await store.stored("late", expires=5)
    await store.stored("open")
    await store.stored("another's", caller="chief")
    store.clock.now += 5
    asked = ["done", "dead", "late", "open", "nobody", "done", "another's"]
    told = await store.tasks.outcomes(asked, caller="boss")
    assert {task_id: outcome and outcome.state for task_id, outcome in told.items()} == {
        "done": State.DONE,
        "dead": State.DEAD,
        "late": State.DEAD,
        "open": None,
    }
    assert told["done"] == await store.tasks.result("done")
    assert set(await store.tasks.outcomes(asked)) == {*asked} - {"nobody"}
    assert await store.tasks.outcomes([]) == {}


async def test_outcomes_of_too_many_are_refused(store: Setting) -> None:
    names = [f"t{number}" for number in range(1_025)]
    assert await store.tasks.outcomes(names[1:]) == {}
    with pytest.raises(ValueError, match="1024 at once"):
        await store.tasks.outcomes(names)


# -- what no task is


@pytest.mark.parametrize(
    "wrong",
    [
        {"task_id": ""},
        {"queue": ""},
        {"max_attempts": 0},
        {"priority": 2**31},
        {"delay": -1},
        {"delay": float("nan")},
        {"expires": float("inf")},
        {"timeout": -1},
        {"backoff": Backoff(-1, 1)},
    ],
)
def test_a_task_that_makes_no_sense_is_not_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"task|priority|number of seconds"):
        new(**wrong)  # type: ignore[arg-type]
