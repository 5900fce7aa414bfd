"""Which worker the tasks with one key go to, and for whom a task waits while nobody is there."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import NoWorkerAvailable, PeerNotFound
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.effects import Accepted, Refused, Send
from orchestrator.patterns.jobs import Order
from orchestrator.patterns.workforce import ABSENT_PAUSE, FULL_PAUSE, Pool, Workforce
from orchestrator.protocol.payloads import Failure, TaskError, TaskRefused
from tests.patterns.test_dispatch import CHANNEL, dispatcher, ends, error_of, helper, join, leave, offers, order

ABSENT = Refused(PeerNotFound("peer_not_found", ""))


def keyed(task_id: str, key: str, wait: float = 0.0, timeout: float = 60.0) -> Order:
    return replace(order(task_id, timeout=timeout), key=key, wait=wait)


def owners(engine: Dispatcher, keys: range) -> dict[int, str]:
    found = {}
    for key in keys:
        seat = engine.workforce.owner("Once", frozenset(), str(key))
        assert seat is not None
        found[key] = seat.peer
    return found


class TestKeys:
    def test_tasks_with_one_key_go_to_one_worker_and_wait_for_it_while_others_are_idle(self) -> None:
        engine = dispatcher(helper(1), helper(2), helper(3), pool=Pool("helper", {"Once": False}, CHANNEL))
        [(_, owner, _)] = offers(engine.submit(keyed("t1", "customer-7"), 0.0))
        assert offers(engine.submit(keyed("t2", "customer-7"), 0.0)) == []
        assert offers(engine.receive(owner, TaskError("t1", Failure("X", "no")), 1.0)) == [("t2", owner, 1)]

    def test_those_who_wait_for_a_busy_worker_hold_up_nobody_elses_tasks(self) -> None:
        engine = dispatcher(helper(1), helper(2), pool=Pool("helper", {"Once": False}, CHANNEL))
        held = owners(engine, range(100))
        mine = [key for key, owner in held.items() if owner == "helper.1"][:3]
        other = next(key for key, owner in held.items() if owner == "helper.2")
        assert offers(engine.submit(keyed("a", str(mine[0])), 0.0)) == [("a", "helper.1", 1)]
        assert offers(engine.submit(keyed("b", str(mine[1])), 0.0)) == []
        assert offers(engine.submit(keyed("c", str(other)), 0.0)) == [("c", "helper.2", 1)]

    def test_who_joins_takes_over_its_share_and_nobody_elses_changes(self) -> None:
        engine = dispatcher(helper(1), helper(2), helper(3))
        before = owners(engine, range(3_000))
        join(engine, helper(4))
        after = owners(engine, range(3_000))
        moved = [key for key in before if before[key] != after[key]]
        assert {after[key] for key in moved} == {"helper.4"}
        assert 600 < len(moved) < 900  # a quarter of them is 750
        assert all(after[key] != "helper.4" for key in before if key not in moved)

    @given(keys=st.lists(st.text(max_size=20), max_size=30))
    def test_who_leaves_gives_up_its_own_keys_alone(self, keys: list[str]) -> None:
        engine = dispatcher(helper(1), helper(2), helper(3))
        before = {key: engine.workforce.owner("Once", frozenset(), key) for key in keys}
        leave(engine, "helper.2", "lost", 1.0)
        for key, owner in before.items():
            now = engine.workforce.owner("Once", frozenset(), key)
            assert owner is not None
            assert now is not None
            assert now.peer == owner.peer or owner.peer == "helper.2"

    def test_what_waits_for_a_worker_that_leaves_goes_to_the_next(self) -> None:
        engine = dispatcher(helper(1), helper(2), pool=Pool("helper", {"Once": False}, CHANNEL))
        [(_, owner, _)] = offers(engine.submit(keyed("t1", "k"), 0.0))
        engine.submit(keyed("t2", "k"), 0.0)
        [(task_id, next_one, _)] = offers(leave(engine, owner, "lost", 1.0))
        assert (task_id, next_one != owner) == ("t2", True)

    def test_what_waits_goes_to_a_worker_that_joins_and_owns_its_key(self) -> None:
        engine = dispatcher(helper(1), pool=Pool("helper", {"Once": False}, CHANNEL))
        whole = dispatcher(helper(1), helper(2))
        mine = next(key for key, owner in owners(whole, range(100)).items() if owner == "helper.2")
        engine.submit(order("busy"), 0.0)
        assert offers(engine.submit(keyed("t1", str(mine)), 0.0)) == []
        assert offers(join(engine, helper(2))) == [("t1", "helper.2", 1)]

    def test_a_worker_that_drains_passes_its_key_on(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, owner, _)] = offers(engine.submit(keyed("t1", "k"), 0.0))
        [(_, other, attempt)] = offers(engine.receive(owner, TaskRefused("t1", 1, "draining"), 0.1))
        assert (other != owner, attempt) == (True, 2)

    def test_a_worker_that_is_full_keeps_it(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, owner, _)] = offers(engine.submit(keyed("t1", "k"), 0.0))
        assert offers(engine.receive(owner, TaskRefused("t1", 1, "full"), 0.1)) == []
        assert offers(engine.tick(0.1 + FULL_PAUSE)) == [("t1", owner, 2)]

    def test_only_the_able_own_keys(self) -> None:
        engine = dispatcher(helper(1), helper(2, "pdf"), helper(3))
        for number in range(20):
            owner = engine.workforce.owner("Once", frozenset({"pdf"}), str(number))
            assert owner is not None
            assert owner.peer == "helper.2"


class TestFairness:
    def test_no_type_of_task_keeps_another_one_waiting(self) -> None:
        """Whoever gets an answer asks again at once, so that the first queue is never empty."""
        engine = dispatcher(helper(1), pool=Pool("helper", {"Safe": True, "Once": False}, CHANNEL))
        engine.submit(order("first", "Safe"), 0.0)
        for number in range(3):
            engine.submit(order(f"safe {number}", "Safe"), 0.0)
        engine.submit(order("once", "Once"), 0.0)
        begun, now = "first", 0.0
        while begun != "once":
            now += 1.0
            effects = engine.receive("helper.1", TaskError(begun, Failure("X", "no")), now)
            engine.submit(order(f"safe after {begun}", "Safe"), now)
            [(begun, _, _)] = offers(effects)
        assert now == 4.0


class TestWaiting:
    def test_a_task_may_wait_for_somebody_to_come(self) -> None:
        engine = dispatcher()
        assert engine.submit(replace(order(), wait=10.0), 0.0) == []
        assert offers(join(engine, helper(1), now=9.0)) == [("t1", "helper.1", 1)]

    def test_when_nobody_comes_it_ends_at_that_time(self) -> None:
        engine = dispatcher()
        engine.submit(replace(order(), wait=10.0), 0.0)
        assert engine.next_tick() == 10.0
        assert engine.tick(9.9) == []
        assert isinstance(error_of(engine.tick(10.0)), NoWorkerAvailable)

    def test_who_waits_longer_holds_up_nobody_who_does_not(self) -> None:
        engine = dispatcher()
        engine.submit(replace(order("long"), wait=50.0), 0.0)
        engine.submit(replace(order("short"), wait=5.0), 0.0)
        assert [end.id for end in ends(engine.submit(order("none"), 0.0))] == ["none"]
        assert [end.id for end in ends(engine.tick(5.0))] == ["short"]
        assert offers(join(engine, helper(1), now=6.0)) == [("long", "helper.1", 1)]

    def test_those_who_wait_are_served_in_their_order(self) -> None:
        engine = dispatcher()
        for number in range(5):
            engine.submit(replace(order(f"t{number}"), wait=50.0), float(number))
        given = [task_id for task_id, _, _ in offers(join(engine, helper(1), helper(2), helper(3), now=6.0))]
        assert given == [f"t{number}" for number in range(5)]

    def test_a_worker_that_leaves_is_waited_for_as_well(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order("busy"), 0.0)
        engine.submit(order("busy too"), 0.0)
        engine.submit(replace(order("t1"), wait=20.0), 0.0)
        engine.submit(order("t2"), 0.0)
        assert [end.id for end in ends(leave(engine, "helper.1", "lost", 1.0))] == ["t2"]
        assert offers(join(engine, helper(2), now=10.0)) == [("t1", "helper.2", 1)]

    def test_a_task_with_a_key_waits_too(self) -> None:
        engine = dispatcher()
        engine.submit(keyed("t1", "k", wait=10.0), 0.0)
        assert offers(join(engine, helper(1), now=9.0)) == [("t1", "helper.1", 1)]

    def test_one_who_is_on_no_roster_is_tried_again_meanwhile(self) -> None:
        engine = Dispatcher("user", Workforce([Pool("lead", None, peers=("lead",), concurrency=9, direct=True)]))
        engine.submit(replace(order(), wait=1.0), 0.0)
        assert engine.answered(("t1", 1), ABSENT, 0.0) == []
        assert len(engine.tick(FULL_PAUSE)) == 1
        assert engine.answered(("t1", 2), ABSENT, FULL_PAUSE) == []
        assert len(engine.tick(3 * FULL_PAUSE)) == 1
        assert engine.answered(("t1", 3), ABSENT, 3 * FULL_PAUSE) == []
        assert isinstance(error_of(engine.tick(1.0)), NoWorkerAvailable)

    def test_many_who_wait_for_one_who_is_on_no_roster_look_for_it_one_at_a_time(self) -> None:
        engine = Dispatcher("user", Workforce([Pool("lead", None, peers=("lead",), concurrency=99, direct=True)]))
        for number in range(50):
            engine.submit(replace(order(f"t{number}"), wait=60.0), 0.0)
        for number in range(50):
            engine.answered((f"t{number}", 1), ABSENT, 0.1)
        tried, now = 0, 0.1
        while now < 20.0:
            now = max(engine.next_tick() or 0.0, now)
            for effect in engine.tick(now):
                assert isinstance(effect, Send)
                tried += 1
                assert engine.answered(effect.ref, ABSENT, now) == []
        assert tried < 20
        [first] = engine.tick(now + ABSENT_PAUSE)
        assert isinstance(first, Send)
        engine.answered(first.ref, Accepted(), now + ABSENT_PAUSE)
        assert len(engine.tick(now + ABSENT_PAUSE)) == 49
