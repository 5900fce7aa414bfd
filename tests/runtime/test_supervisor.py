from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.errors import ExitCode
from orchestrator.runtime.supervisor import (
    AllStopped,
    Child,
    Drain,
    Due,
    Ended,
    Exited,
    Finished,
    GiveUp,
    GraceOver,
    Kill,
    Proven,
    Spawn,
    SpawnAfter,
    StopAsked,
    Supervisor,
)
from orchestrator.topology.replica import RestartPolicy

if TYPE_CHECKING:
    from orchestrator.runtime.supervisor import Action

CRASH = Ended(code=1)
USUAL = RestartPolicy()


def alone(policy: RestartPolicy = USUAL, jitter: float = 1.0) -> Supervisor:
    """Return a supervisor of one running child, beside another one that just runs."""
    supervisor = Supervisor([Child("writer", policy), Child("other", RestartPolicy())], lambda: jitter)
    supervisor.start()
    return supervisor


def with_hub() -> Supervisor:
    hub = Child("(hub)", RestartPolicy("always", delay=0.0), rank=1, essential=True)
    supervisor = Supervisor([hub, Child("boss", RestartPolicy()), Child("helper", RestartPolicy())], lambda: 1.0)
    supervisor.start()
    return supervisor


def test_all_are_started_at_once_in_their_order() -> None:
    children = [Child(name, RestartPolicy()) for name in ("b", "a", "c")]
    assert Supervisor(children, lambda: 1.0).start() == [Spawn("b"), Spawn("a"), Spawn("c")]


def test_a_crash_is_followed_by_a_restart_when_its_delay_is_over() -> None:
    supervisor = alone()
    assert supervisor.handle(Exited("writer", Ended(signal=9), 10.0)) == [
        SpawnAfter("writer", 0.25, 1, "killed by SIGKILL")
    ]
    assert supervisor.handle(Due("writer")) == [Spawn("writer")]
    assert supervisor.handle(Due("writer")) == []
    assert supervisor.restarts == 1


def test_delays_double_up_to_the_largest_and_then_it_is_given_up() -> None:
    supervisor = alone(RestartPolicy(delay=1.0, max_delay=5.0, max_attempts=6))
    delays = []
    for at in range(6):
        [action] = supervisor.handle(Exited("writer", CRASH, float(at)))
        assert isinstance(action, SpawnAfter)
        delays.append(action.delay)
        supervisor.handle(Due("writer"))
    assert delays == [0.25, 1.0, 2.0, 4.0, 5.0, 5.0]
    because = "exit 1; it was restarted 6 times within 600 s"
    assert supervisor.handle(Exited("writer", CRASH, 7.0)) == [GiveUp("writer", because, 1)]
    assert set(supervisor.failed) == {"writer"}


def test_restarts_outside_the_window_are_forgotten() -> None:
    supervisor = alone(RestartPolicy(max_attempts=1, window=60.0))
    for at in (0.0, 61.0, 122.0):
        assert supervisor.handle(Exited("writer", CRASH, at)) == [SpawnAfter("writer", 0.25, 1, "exit 1")]
        supervisor.handle(Due("writer"))
    [action] = supervisor.handle(Exited("writer", CRASH, 123.0))
    assert action == GiveUp("writer", "exit 1; it was restarted once within 60 s", 1)


def test_no_limit_of_attempts_means_that_it_is_never_given_up() -> None:
    supervisor = alone(RestartPolicy(max_attempts=None))
    for at in range(2000):
        [action] = supervisor.handle(Exited("writer", CRASH, at / 10))
        assert isinstance(action, SpawnAfter)
        assert action.delay <= 60.0
        supervisor.handle(Due("writer"))


def test_jitter_scales_the_delay_but_not_beyond_the_largest() -> None:
    [action] = alone(jitter=0.5).handle(Exited("writer", CRASH, 0.0))
    assert isinstance(action, SpawnAfter)
    assert action.delay == 0.125
    [action] = alone(RestartPolicy(delay=60.0, max_delay=10.0), jitter=1.25).handle(Exited("writer", CRASH, 0.0))
    assert isinstance(action, SpawnAfter)
    assert action.delay == 10.0


@pytest.mark.parametrize(
    ("condition", "ended", "expected"),
    [
        ("on-failure", Ended(code=0), Finished("writer")),
        ("never", Ended(code=0), Finished("writer")),
        ("always", Ended(code=0), SpawnAfter("writer", 0.25, 1, "exit 0")),
        ("never", CRASH, GiveUp("writer", "exit 1; its policy is never to restart", 1)),
        ("on-failure", Ended(code=3, sentence="no such method"), GiveUp("writer", "no such method", 3)),
        ("always", Ended(code=3), GiveUp("writer", "exit 3: its handler does not fit the topology", 3)),
        ("on-failure", Ended(code=4, close_code=4001), SpawnAfter("writer", 0.25, 1, "exit 4")),
        ("on-failure", Ended(code=4, close_code=4003), SpawnAfter("writer", 0.25, 1, "exit 4")),
        ("on-failure", Ended(code=4), SpawnAfter("writer", 0.25, 1, "exit 4")),
        ("on-failure", Ended(code=5, sentence="gone"), SpawnAfter("writer", 0.25, 1, "exit 5: gone")),
        ("on-failure", Ended(sentence="no memory"), SpawnAfter("writer", 0.25, 1, "not started: no memory")),
    ],
)
def test_what_follows_an_end_depends_on_its_cause(condition: str, ended: Ended, expected: Action) -> None:
    supervisor = alone(RestartPolicy(condition))  # type: ignore[arg-type]
    assert supervisor.handle(Exited("writer", ended, 0.0)) == [expected]


@pytest.mark.parametrize("close_code", [4012, 4020])
def test_a_replica_that_was_suspended_or_replaced_is_not_started_again(close_code: int) -> None:
    [action] = alone(RestartPolicy("always")).handle(Exited("writer", Ended(code=4, close_code=close_code), 0.0))
    assert isinstance(action, GiveUp)
    assert action.because.startswith(str(close_code))
    assert action.exit_code == ExitCode.TERMINAL


def test_agents_are_drained_before_the_hub() -> None:
    supervisor = with_hub()
    assert supervisor.handle(StopAsked()) == [Drain(("boss", "helper"), 0)]
    assert supervisor.handle(Exited("boss", Ended(code=0), 1.0)) == []
    assert supervisor.handle(Exited("helper", Ended(code=0), 1.0)) == [Drain(("(hub)",), 1)]
    assert supervisor.handle(Exited("(hub)", Ended(code=0), 1.0)) == [AllStopped()]
    assert not supervisor.unclean


def test_those_that_outlive_their_grace_are_killed() -> None:
    supervisor = with_hub()
    supervisor.handle(StopAsked())
    supervisor.handle(Exited("boss", Ended(code=0), 1.0))
    assert supervisor.handle(GraceOver(1)) == []  # not its turn
    assert supervisor.handle(GraceOver(0)) == [Kill("helper")]
    assert supervisor.handle(Exited("helper", Ended(signal=9), 2.0)) == [Drain(("(hub)",), 1)]
    assert supervisor.handle(GraceOver(0)) == []  # its turn is over
    assert set(supervisor.unclean) == {"helper"}


def test_asked_twice_it_kills_everything_at_once() -> None:
    supervisor = with_hub()
    supervisor.handle(StopAsked())
    assert supervisor.handle(StopAsked()) == [Kill("(hub)"), Kill("boss"), Kill("helper")]


def test_a_restart_that_waits_is_dropped_when_the_run_ends() -> None:
    supervisor = with_hub()
    supervisor.handle(Exited("boss", CRASH, 0.0))
    assert supervisor.handle(StopAsked()) == [Drain(("helper",), 0)]
    assert supervisor.handle(Due("boss")) == []


def test_the_hub_is_started_again_at_once_and_its_loss_for_good_ends_everything() -> None:
    hub = Child("(hub)", RestartPolicy("always", delay=0.0, max_attempts=1), rank=1, essential=True)
    supervisor = Supervisor([hub, Child("boss", RestartPolicy())], lambda: 1.0)
    supervisor.start()
    assert supervisor.handle(Exited("(hub)", Ended(code=0), 0.0)) == [SpawnAfter("(hub)", 0.0, 1, "exit 0")]
    supervisor.handle(Due("(hub)"))
    [gone, drain] = supervisor.handle(Exited("(hub)", CRASH, 1.0))
    assert isinstance(gone, GiveUp)
    assert drain == Drain(("boss",), 0)
    assert supervisor.handle(Exited("boss", Ended(code=0), 2.0)) == [AllStopped()]


REFUSED = Ended(code=1, sentence="the file is used by process 7 already")


def with_store(policy: RestartPolicy = USUAL) -> Supervisor:
    store = Child("(store)", RestartPolicy("always", delay=1.0), rank=1, essential=True)
    supervisor = Supervisor([store, Child("boss", policy)], lambda: 1.0)
    supervisor.start()
    return supervisor


def test_a_store_that_says_at_its_start_why_it_cannot_begin_is_not_started_again() -> None:
    supervisor = with_store()
    assert supervisor.handle(Exited("(store)", REFUSED, 0.0)) == [
        GiveUp("(store)", "the file is used by process 7 already", 1),
        Drain(("boss",), 0),
    ]


def test_a_store_that_has_been_ready_is_started_again_whatever_it_says() -> None:
    supervisor = with_store()
    assert supervisor.handle(Proven("(store)")) == []
    assert supervisor.handle(Exited("(store)", REFUSED, 0.0)) == [SpawnAfter("(store)", 0.25, 1, str(REFUSED))]


@pytest.mark.parametrize("ended", [CRASH, Ended(signal=signal.SIGKILL)])
def test_a_store_that_crashes_at_its_start_is_started_again(ended: Ended) -> None:
    assert with_store().handle(Exited("(store)", ended, 0.0)) == [SpawnAfter("(store)", 0.25, 1, str(ended))]


def test_an_agent_that_says_why_it_ends_is_started_again() -> None:
    [action] = with_store().handle(Exited("boss", REFUSED, 0.0))
    assert isinstance(action, SpawnAfter)


def test_when_the_last_agent_is_over_the_hub_has_nobody_left_to_serve() -> None:
    supervisor = with_hub()
    assert supervisor.handle(Exited("boss", Ended(code=0), 0.0)) == [Finished("boss")]
    actions = supervisor.handle(Exited("helper", Ended(code=3), 0.0))
    assert actions[1:] == [Drain(("(hub)",), 1)]


@pytest.mark.parametrize(
    ("returncode", "shown"), [(0, "exit 0"), (3, "exit 3"), (-9, "killed by SIGKILL"), (-250, "killed by signal 250")]
)
def test_a_return_code_is_said_in_words(returncode: int, shown: str) -> None:
    assert str(Ended.of(returncode)) == shown
    assert str(Ended.of(returncode, "so it said")) == f"{shown}: so it said"


def test_a_signal_is_no_exit_code() -> None:
    assert Ended.of(-signal.SIGTERM) == Ended(signal=signal.SIGTERM)


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, processes are neither doubled nor forgotten, and the end comes once."""

    @initialize(
        policies=st.lists(
            st.builds(
                RestartPolicy,
                condition=st.sampled_from(["always", "on-failure", "never"]),
                delay=st.floats(0, 100),
                max_delay=st.floats(0, 100),
                max_attempts=st.none() | st.integers(0, 3),
                window=st.floats(1, 100),
            ),
            min_size=1,
            max_size=4,
        ),
        hub=st.booleans(),
    )
    def begin(self, policies: list[RestartPolicy], hub: bool) -> None:
        children = [Child(f"a{number}", policy) for number, policy in enumerate(policies)]
        if hub:
            children.insert(0, Child("(hub)", RestartPolicy("always"), rank=1, essential=True))
        self.policies = {child.name: child.policy for child in children}
        self.supervisor = Supervisor(children, lambda: 1.0)
        self.alive: set[str] = set()
        self.waiting: set[str] = set()
        self.over: set[str] = set()
        self.asked = False
        self.ended = 0
        self.now = 0.0
        self.take(self.supervisor.start())

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Spawn(name):
                    assert name not in self.alive
                    assert not self.asked
                    self.waiting.discard(name)
                    self.alive.add(name)
                case SpawnAfter(name, delay, attempt):
                    policy = self.policies[name]
                    assert 0 <= delay <= policy.max_delay
                    assert policy.max_attempts is None or attempt <= policy.max_attempts
                    self.waiting.add(name)
                case Drain(names):
                    assert set(names) <= self.alive
                    assert "(hub)" not in names or self.alive == {"(hub)"}
                    self.asked = True
                    self.waiting.clear()
                case Kill(name):
                    assert name in self.alive
                case GiveUp(name) | Finished(name):
                    self.over.add(name)
                case AllStopped():
                    self.asked = True
                    self.ended += 1

    @precondition(lambda self: self.alive)
    @rule(
        data=st.data(),
        ended=st.sampled_from(
            [Ended(code=code) for code in (0, 1, 3, 5)]
            + [Ended(code=4, close_code=code) for code in (4001, 4012, 4020)]
            + [Ended(signal=9), Ended(sentence="no memory")]
        ),
        passed=st.floats(0, 50),
    )
    def exits(self, data: st.DataObject, ended: Ended, passed: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.discard(name)
        self.now += passed
        self.take(self.supervisor.handle(Exited(name, ended, self.now)))

    @precondition(lambda self: self.alive | self.waiting)
    @rule(data=st.data())
    def due(self, data: st.DataObject) -> None:
        self.take(self.supervisor.handle(Due(data.draw(st.sampled_from(sorted(self.alive | self.waiting))))))

    @precondition(lambda self: not self.ended)
    @rule()
    def stop(self) -> None:
        self.asked = True
        self.take(self.supervisor.handle(StopAsked()))

    @rule(rank=st.integers(0, 1))
    def grace_over(self, rank: int) -> None:
        self.take(self.supervisor.handle(GraceOver(rank)))

    @invariant()
    def each_child_is_somewhere_or_the_run_ends(self) -> None:
        if hasattr(self, "supervisor") and not self.asked:
            assert self.alive | self.waiting | self.over == set(self.policies)

    @invariant()
    def the_end_comes_once_and_last(self) -> None:
        if hasattr(self, "supervisor"):
            assert self.ended <= 1
            assert bool(self.ended) == (self.asked and not self.alive)


TestAnyHistory = AnyHistory.TestCase
