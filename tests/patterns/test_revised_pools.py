"""Pools that grow and shrink under tasks: who is new gets some, who is gone gets none, and nothing under way is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.errors import NoWorkerAvailable, PeerNotFound
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.effects import Accepted, Publish, Refused
from orchestrator.patterns.jobs import Finished, Order
from orchestrator.patterns.kept import Kept, KeptTasks
from orchestrator.patterns.roster import Joined, Left, Peer, Roster
from orchestrator.patterns.workforce import FULL_PAUSE, RETURN_SECONDS, Pool, Workforce
from orchestrator.protocol.frames import Present
from orchestrator.protocol.payloads import Load, TaskAccepted, TaskResult
from tests.patterns.test_dispatch import POOL, dispatcher, ends, error_of, helper, join, leave, offers, order

PROGRAM = Pool("shouter", {"Once": False}, peers=("shouter.1",))
LISTED = replace(POOL, peers=("helper.1", "helper.2"))
NOT_THERE = Refused(PeerNotFound("peer_not_found", "", ""))


def program(pool: Pool = PROGRAM) -> Dispatcher:
    return dispatcher(pool=pool)


def having(pool: Pool, *peers: str) -> list[Pool]:
    return [replace(pool, peers=peers)]


class TestPrograms:
    def test_one_that_is_new_gets_what_waits(self) -> None:
        engine = program()
        engine.submit(order("t1"), 0.0)
        assert offers(engine.submit(order("t2"), 0.0)) == []
        assert offers(engine.revise(having(PROGRAM, "shouter.1", "shouter.2"), 1.0)) == [("t2", "shouter.2", 1)]

    def test_one_that_is_new_and_not_there_yet_is_waited_for_like_after_a_connect(self) -> None:
        engine = program()
        engine.submit(order("t1"), 0.0)
        engine.submit(order("t2"), 0.0)
        engine.revise(having(PROGRAM, "shouter.1", "shouter.2"), 1.0)
        assert engine.answered(("t2", 1), NOT_THERE, 1.0) == []
        assert offers(engine.tick(1.0 + FULL_PAUSE)) == [("t2", "shouter.2", 2)]

    def test_one_that_never_comes_is_given_up(self) -> None:
        engine = program(replace(PROGRAM, peers=()))
        engine.revise(having(PROGRAM, "shouter.2"), 1.0)
        late = 1.0 + RETURN_SECONDS
        engine.submit(order("t1"), late)
        assert isinstance(error_of(engine.answered(("t1", 1), NOT_THERE, late)), NoWorkerAvailable)

    def test_one_that_is_gone_gets_nothing_more_and_ends_what_it_has(self) -> None:
        engine = program(replace(PROGRAM, peers=("shouter.1", "shouter.2")))
        assert offers(engine.submit(order("t1"), 0.0)) == [("t1", "shouter.1", 1)]
        assert offers(engine.revise(having(PROGRAM, "shouter.2"), 1.0)) == []
        assert offers(engine.submit(order("t2"), 1.0)) == [("t2", "shouter.2", 1)]
        assert offers(engine.submit(order("t3"), 1.0)) == []
        assert ends(engine.receive("shouter.1", TaskResult("t1", Raw(b"1")), 2.0)) == [Finished("t1", Raw(b"1"))]
        assert set(engine.workforce.seats) == {"shouter.2"}
        assert offers(engine.receive("shouter.2", TaskResult("t2"), 3.0)) == [("t3", "shouter.2", 1)]

    def test_one_that_is_gone_stays_so_when_the_connection_comes_back(self) -> None:
        engine = program(replace(PROGRAM, peers=("shouter.1", "shouter.2")))
        engine.submit(order("t1"), 0.0)
        engine.revise(having(PROGRAM, "shouter.2"), 1.0)
        engine.disconnected()
        engine.connected(2.0)
        assert offers([*engine.submit(order("t2"), 2.0), *engine.submit(order("t3"), 2.0)]) == [("t2", "shouter.2", 1)]

    def test_one_that_comes_back_before_it_had_ended_gets_tasks_again(self) -> None:
        engine = program(replace(PROGRAM, concurrency=2))
        engine.submit(order("t1"), 0.0)
        engine.revise(having(PROGRAM), 1.0)
        assert isinstance(error_of(engine.submit(order("t2"), 1.0)), NoWorkerAvailable)
        engine.revise(having(PROGRAM, "shouter.1"), 2.0)
        assert offers(engine.submit(order("t3"), 2.0)) == [("t3", "shouter.1", 1)]
        assert engine.workforce.seats["shouter.1"].outstanding == {"t1", "t3"}

    def test_tasks_with_a_key_go_to_who_owns_it_now(self) -> None:
        engine = program(replace(PROGRAM, peers=("shouter.1", "shouter.2")))
        mine = next(key for key in map(str, range(99)) if owner(engine, key) == "shouter.1")
        keyed = Order("t2", "Once", Raw(b"{}"), 60.0, key=mine)
        engine.submit(replace(keyed, id="t1"), 0.0)
        assert offers(engine.submit(keyed, 0.0)) == []
        assert offers(engine.revise(having(PROGRAM, "shouter.2"), 1.0)) == [("t2", "shouter.2", 1)]


def owner(engine: Dispatcher, key: str) -> str:
    seat = engine.workforce.owner("Once", frozenset(), key)
    assert seat is not None
    return seat.peer


class TestHandlers:
    def test_one_that_is_new_is_found_on_the_roster_whether_it_was_told_of_or_not(self) -> None:
        engine = dispatcher(helper(1), pool=replace(LISTED, concurrency=1))
        engine.submit(order("t1"), 0.0)
        assert offers(engine.submit(order("t2"), 0.0)) == []
        assert offers(join(engine, helper(3))) == [("t2", "helper.3", 1)]
        assert engine.revise(having(LISTED, "helper.1", "helper.2", "helper.3"), 1.0) == []

    def test_one_that_will_end_gets_nothing_more_while_it_is_still_there(self) -> None:
        engine = dispatcher(helper(1), helper(2), pool=LISTED)
        engine.submit(order("t1"), 0.0)
        engine.revise(having(LISTED, "helper.2"), 1.0)
        later = [engine.submit(order(f"t{number}"), 1.0) for number in (2, 3, 4)]
        assert [offer[1] for effects in later for offer in offers(effects)] == ["helper.2", "helper.2"]
        assert ends(engine.receive("helper.1", TaskResult("t1", Raw(b"1")), 2.0)) == [Finished("t1", Raw(b"1"))]

    def test_nor_when_it_comes_back_for_a_moment(self) -> None:
        engine = dispatcher(helper(1), pool=LISTED)
        engine.revise(having(LISTED, "helper.2"), 0.0)
        leave(engine, "helper.1", "lost", 1.0)
        join(engine, helper(1), now=2.0)
        assert isinstance(error_of(engine.submit(order("t1"), 9.0)), NoWorkerAvailable)

    def test_it_counts_for_no_task_that_could_be_under_way(self) -> None:
        pool = replace(LISTED, concurrency=100)
        engine = dispatcher(helper(1), helper(2), pool=pool)
        assert engine.workforce.appetite() == 400
        engine.revise(having(pool, "helper.2"), 1.0)
        assert engine.workforce.appetite() == 200

    @given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=12), listed=st.booleans())
    def test_every_task_ends_however_often_the_pool_changes(self, counts: list[int], listed: bool) -> None:
        """Peers that are not wanted any more go on, as they do while they drain."""
        pool = Pool("helper", {"Once": False}, POOL.channel if listed else None, ("helper.1",))
        engine = dispatcher(helper(1), pool=pool)
        running, ended, given = {"helper.1"}, set(), {}
        now = 0.0
        for number, count in enumerate(counts):
            now += 1.0
            peers = [f"helper.{one}" for one in range(1, count + 1)]
            effects = engine.revise(having(pool, *peers), now)
            for peer in set(peers) - running:
                running.add(peer)
                effects += join(engine, helper(int(peer[-1])), now=now) if listed else []
            effects += engine.submit(order(f"t{number}"), now)
            given.update({task: peer for task, peer, _ in offers(effects)})
            assert {given[task] for task, _, _ in offers(effects)} <= set(peers)
            for task, peer in list(given.items())[: number % 3]:
                assert engine.answered((task, 1), Accepted(1), now) == []
                effects = engine.receive(peer, TaskResult(task, Raw(b"1")), now)
                ended |= {end.id for end in ends(effects) if end.error is None}
                del given[task]
                given.update({task: peer for task, peer, _ in offers(effects)})
        while given:
            task, peer = given.popitem()
            effects = engine.receive(peer, TaskResult(task, Raw(b"1")), now)
            ended |= {end.id for end in ends(effects) if end.error is None}
            given.update({task: peer for task, peer, _ in offers(effects)})
        assert ended == {f"t{number}" for number in range(len(counts))}


class TestStored:
    POOL = Pool("worker", {"Work": False}, "pools/worker", ("worker.1",))

    def engine(self) -> KeptTasks:
        tasks = KeptTasks(Workforce([self.POOL]))
        self.join(tasks, "worker.1")
        return tasks

    @staticmethod
    def join(tasks: KeptTasks, *peers: str) -> None:
        there = [Present(peer, {"kind": "agent", "agent": "worker"}) for peer in peers]
        tasks.presence(tasks.workforce.present("pools/worker", there, [], whole=False), 0.0)

    def test_a_new_worker_is_heard(self) -> None:
        tasks = self.engine()
        tasks.stored([Kept("t1", "Work", "worker")], 0.0)
        self.join(tasks, "worker.2")
        result = TaskResult("t1", Raw(b"4"), 1, Load(0, 1))
        assert tasks.receive("worker.2", result, 1.0) is None
        tasks.revise(having(self.POOL, "worker.1", "worker.2"), 1.0)
        assert tasks.receive("worker.2", result, 1.0) == [Finished("t1", Raw(b"4"))]

    def test_one_that_will_end_is_woken_no_more_and_heard_to_the_end(self) -> None:
        tasks = self.engine()
        self.join(tasks, "worker.2")
        tasks.stored([Kept("t1", "Work", "worker")], 0.0)
        tasks.receive("worker.1", TaskAccepted("t1", 1, Load(1, 1)), 0.0)
        tasks.revise(having(self.POOL, "worker.2"), 1.0)
        woken = tasks.stored([Kept(f"t{number}", "Work", "worker") for number in (2, 3)], 1.0)
        assert [effect.channel for effect in woken if isinstance(effect, Publish)] == ["tasks/worker.2"]
        assert tasks.receive("worker.1", TaskResult("t1", Raw(b"4"), 1), 2.0) == [Finished("t1", Raw(b"4"))]


class TestRoster:
    GUEST, COOK = (Present(f"{name}.1", {"kind": "agent", "agent": name}) for name in ("guest", "cook"))

    def test_those_who_are_there_already_join_when_their_agent_is_kept(self) -> None:
        roster = Roster("agent", agents=["guest"])
        roster.update([self.GUEST, self.COOK], [], whole=True)
        assert roster.keep(["guest", "cook"]) == [Joined(Peer("cook.1", {"kind": "agent", "agent": "cook"}))]
        assert set(roster.peers) == {"guest.1", "cook.1"}
        assert roster.keep(["guest", "cook"]) == []

    @pytest.mark.parametrize("whole", [True, False])
    def test_those_who_have_left_meanwhile_do_not(self, whole: bool) -> None:
        roster = Roster("agent", agents=["guest"])
        roster.update([self.GUEST, self.COOK], [], whole=True)
        roster.update([self.GUEST], [] if whole else [self.COOK], whole=whole)
        assert roster.keep(["guest", "cook"]) == []

    def test_those_whose_agent_is_not_kept_any_more_stay_until_they_leave(self) -> None:
        roster = Roster("agent", agents=["guest", "cook"])
        roster.update([self.GUEST, self.COOK], [], whole=True)
        assert roster.keep(["guest"]) == []
        assert "cook.1" in roster
        [left] = roster.update([], [self.COOK], whole=False)
        assert isinstance(left, Left)
        assert roster.update([self.COOK], [], whole=False) == []

    def test_users_are_no_agents_whoever_is_kept(self) -> None:
        roster = Roster("agent", agents=["guest"])
        roster.update([Present("user/1", {"kind": "user", "agent": "cook"})], [], whole=True)
        assert roster.keep(["cook"]) == []
