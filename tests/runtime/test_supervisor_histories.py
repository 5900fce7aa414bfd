"""Whatever happens in whatever order, processes are neither doubled nor forgotten, and everything has one end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.runtime.supervisor import (
    AllStopped,
    Child,
    Dismissed,
    Drain,
    Due,
    Ended,
    Enlisted,
    Exited,
    Finished,
    GiveUp,
    GraceOver,
    Kill,
    Proven,
    Replaced,
    Repolicied,
    RestartAsked,
    Retire,
    RetireOver,
    Rolled,
    RollStopped,
    Spawn,
    SpawnAfter,
    StopAsked,
    Supervisor,
)
from orchestrator.topology.replica import RestartPolicy

if TYPE_CHECKING:
    from orchestrator.runtime.supervisor import Action, Fact

HUB = "(hub)"
NAMES = ("a0", "a1", "a2", "a3")
POLICIES = st.builds(
    RestartPolicy,
    condition=st.sampled_from(["always", "on-failure", "never"]),
    delay=st.floats(0, 100),
    max_delay=st.floats(0, 100),
    max_attempts=st.none() | st.integers(0, 3),
    window=st.floats(1, 100),
)
ENDS = st.sampled_from(
    [Ended(code=code) for code in (0, 1, 3, 5)]
    + [Ended(code=4, close_code=code) for code in (4001, 4012, 4020)]
    + [Ended(signal=9), Ended(sentence="no memory")]
)


def hopeless(ended: Ended) -> bool:
    return ended.code == 3 or ended.close_code in (4012, 4020)


class AnyHistory(RuleBasedStateMachine):
    """A shell that keeps its own books of what it was told to do."""

    @initialize(policies=st.lists(POLICIES, min_size=1, max_size=3), hub=st.booleans(), abort=st.booleans())
    def begin(self, policies: list[RestartPolicy], hub: bool, abort: bool) -> None:
        children = [Child(name, policy) for name, policy in zip(NAMES, policies, strict=False)]
        if hub:
            children.insert(0, Child(HUB, RestartPolicy("always"), rank=1, essential=True))
        self.policies = {child.name: child.policy for child in children}
        """Those that are there, and not on their way out."""
        self.abort = abort
        self.supervisor = Supervisor(children, lambda: 1.25, abort_on_failure=abort)
        self.alive: set[str] = set()
        self.lives: Counter[str] = Counter()
        self.retiring: dict[str, int] = {}
        self.dates: dict[str, int] = {}
        """Of those that wait: the number of the date that counts."""
        self.old_dates: set[tuple[str, int]] = set()
        self.over: dict[str, Ended | None] = {}
        self.asked: Counter[tuple[str, ...]] = Counter()
        """Restarts that nobody has heard of yet."""
        self.wanted: set[str] = set()
        """Names in any of them."""
        self.stopping = False
        self.ended = 0
        self.now = 0.0
        self.take(self.supervisor.start())

    def tell(self, fact: Fact, ended: Ended | None = None) -> list[Action]:
        before = self.ended
        actions = self.supervisor.handle(fact)
        assert not (before and actions)
        self.take(actions, ended)
        return actions

    def take(self, actions: list[Action], ended: Ended | None = None) -> None:
        for action in actions:
            match action:
                case Spawn(name):
                    assert name not in self.alive
                    assert not self.stopping
                    assert name in self.policies
                    over = self.over.pop(name, None)
                    if over is not None or (ended is not None and hopeless(ended)):
                        assert name in self.wanted
                    self.dates.pop(name, None)
                    self.alive.add(name)
                    self.lives[name] += 1
                case SpawnAfter(name, delay, attempt, _, number):
                    policy = self.policies[name]
                    assert ended is not None
                    assert not hopeless(ended)
                    assert 0 <= delay <= policy.max_delay
                    assert policy.max_attempts is None or attempt <= policy.max_attempts
                    assert number == self.lives[name]
                    self.dates[name] = number
                    self.old_dates.add((name, number))
                case Retire(name, number):
                    assert name in self.alive
                    assert name not in self.retiring
                    assert not self.stopping
                    assert number == self.lives[name]
                    self.retiring[name] = number
                case Drain(names):
                    assert set(names) <= self.alive
                    assert HUB not in names or self.alive == {HUB}
                    self.stop_begins()
                case Kill(name):
                    assert name in self.alive
                    assert self.stopping or self.retiring[name] == self.lives[name]
                case GiveUp(name) | Finished(name):
                    self.over[name] = ended
                    if self.abort and isinstance(action, GiveUp):
                        assert isinstance(actions[-1], Drain | AllStopped)
                case Rolled(names):
                    self.answered(names)
                case RollStopped(name, remaining, _, names):
                    assert name in self.over
                    assert name not in remaining
                    assert set(remaining) < set(names)
                    self.answered(names)
                case AllStopped():
                    self.stop_begins()
                    self.ended += 1

    def answered(self, names: tuple[str, ...]) -> None:
        assert self.asked[names] > 0
        self.asked[names] -= 1
        self.wanted = {name for asked, times in self.asked.items() if times for name in asked}

    def stop_begins(self) -> None:
        self.stopping = True
        self.dates.clear()
        self.asked.clear()

    # -- what happens to processes

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), ended=ENDS, passed=st.floats(0, 50))
    def exits(self, data: st.DataObject, ended: Ended, passed: float) -> None:
        self.die(data.draw(st.sampled_from(sorted(self.alive))), ended, passed)

    @precondition(lambda self: self.retiring)
    @rule(data=st.data(), ended=ENDS)
    def retires(self, data: st.DataObject, ended: Ended) -> None:
        self.die(data.draw(st.sampled_from(sorted(self.retiring))), ended, 0.0)

    def die(self, name: str, ended: Ended, passed: float) -> None:
        self.alive.discard(name)
        self.now += passed
        told = self.retiring.pop(name, None) is not None
        back = name in self.policies
        if told and back and not self.stopping:
            # Whatever it ended with, it was asked for, or was dismissed and is to come back.
            assert Spawn(name) in self.tell(Exited(name, ended, self.now))
        else:
            actions = self.tell(Exited(name, ended, self.now), ended)
            # Only somebody who asked again after the start that has failed here gets another one at once.
            stopped = any(isinstance(action, RollStopped) and action.name == name for action in actions)
            assert stopped or Spawn(name) not in actions
        if told and not back:
            assert (name in self.supervisor.unclean) or ended.code == 0

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def proves_itself(self, data: st.DataObject) -> None:
        self.tell(Proven(data.draw(st.sampled_from(sorted(self.alive)))))

    @precondition(lambda self: self.dates)
    @rule(data=st.data())
    def date_comes(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.dates)))
        assert Spawn(name) in self.tell(Due(name, self.dates[name]))

    @precondition(lambda self: self.old_dates)
    @rule(data=st.data())
    def date_comes_late(self, data: st.DataObject) -> None:
        name, number = data.draw(st.sampled_from(sorted(self.old_dates)))
        if self.dates.get(name) != number:
            assert self.tell(Due(name, number)) == []

    @rule(name=st.sampled_from((HUB, *NAMES)), number=st.integers(1, 6))
    def retiring_takes_too_long(self, name: str, number: int) -> None:
        expected = [Kill(name)] if self.retiring.get(name) == number else []
        assert self.tell(RetireOver(name, number)) == expected

    # -- what people ask for

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True, max_size=4), policy=POLICIES)
    def some_come(self, names: list[str], policy: RestartPolicy) -> None:
        if not self.stopping:
            self.policies.update(dict.fromkeys(names, policy))
        new = [name for name in names if name not in self.alive | {*self.dates} | {*self.over}]
        actions = self.tell(Enlisted(tuple(Child(name, policy) for name in names)))
        assert actions == ([] if self.stopping else [Spawn(name) for name in new])

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=3))
    def some_go(self, names: list[str]) -> None:
        if not self.stopping:
            for name in names:
                self.policies.pop(name, None)
                self.dates.pop(name, None)
                self.over.pop(name, None)
        self.tell(Dismissed(tuple(names)))
        assert not {*names} & {*self.supervisor.failed} or self.stopping

    @rule(names=st.lists(st.sampled_from((HUB, *NAMES)), max_size=4))
    def restart(self, names: list[str]) -> None:
        if not self.stopping:
            self.asked[tuple(names)] += 1
            self.wanted.update(names)
        self.tell(RestartAsked(tuple(names)))

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True, max_size=4), policy=POLICIES)
    def replace(self, names: list[str], policy: RestartPolicy) -> None:
        if not self.stopping:
            self.asked[tuple(names)] += 1
            self.wanted.update(names)
            self.policies.update(dict.fromkeys((name for name in names if name in self.policies), policy))
        self.tell(Replaced(tuple(Child(name, policy) for name in names)))

    @rule(name=st.sampled_from(NAMES), policy=POLICIES)
    def change_policy(self, name: str, policy: RestartPolicy) -> None:
        if name in self.policies:
            self.policies[name] = policy
        assert self.tell(Repolicied(Child(name, policy))) == []

    @precondition(lambda self: hasattr(self, "lives") and self.lives.total() > 6)
    @rule()
    def stop(self) -> None:
        again, alive = self.stopping, set(self.alive)
        self.stop_begins()
        actions = self.tell(StopAsked())
        if again:
            assert {action.name for action in actions if isinstance(action, Kill)} == alive

    @rule(rank=st.integers(0, 1))
    def grace_over(self, rank: int) -> None:
        self.tell(GraceOver(rank))

    # -- what holds

    @invariant()
    def each_child_is_somewhere_or_the_run_ends(self) -> None:
        if hasattr(self, "supervisor") and not self.stopping:
            assert {*self.policies} <= self.alive | {*self.dates} | {*self.over}
            assert self.alive <= {*self.policies} | {*self.retiring}
            assert {*self.supervisor.failed} <= {*self.over}

    @invariant()
    def a_restart_that_was_asked_for_is_under_way(self) -> None:
        """Nobody waits for an answer while everybody stands still."""
        if hasattr(self, "supervisor") and self.asked.total():
            assert self.alive | {*self.dates}

    @invariant()
    def the_end_comes_once_and_last(self) -> None:
        if hasattr(self, "supervisor"):
            assert self.supervisor.stopping == self.stopping
            assert self.ended <= 1
            assert bool(self.ended) == (self.stopping and not self.alive)

    def teardown(self) -> None:
        """Let everybody end as they were told to, and prove themselves: then every asking has its answer."""
        if not hasattr(self, "supervisor"):
            return
        for _ in range(200):
            if self.stopping or not self.asked.total():
                break
            if self.retiring:
                self.die(min(self.retiring), Ended(code=0), 0.0)
            elif self.dates:
                name = min(self.dates)
                self.tell(Due(name, self.dates[name]))
            else:
                for name in sorted(self.alive):
                    self.tell(Proven(name))
        assert self.stopping or not self.asked.total()


TestAnyHistory = AnyHistory.TestCase
