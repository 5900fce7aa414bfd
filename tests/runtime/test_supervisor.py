from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest

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
Condition: TypeAlias = Literal["on-failure", "always", "never"]


def exact() -> float:
    return 1.0


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
        SpawnAfter("writer", 0.25, 1, "killed by SIGKILL", 1)
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
    for life, at in enumerate((0.0, 61.0, 122.0), start=1):
        assert supervisor.handle(Exited("writer", CRASH, at)) == [SpawnAfter("writer", 0.25, 1, "exit 1", life)]
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


def test_a_policy_without_attempts_allows_no_restart() -> None:
    [action] = alone(RestartPolicy(max_attempts=0)).handle(Exited("writer", CRASH, 0.0))
    assert action == GiveUp("writer", "exit 1; its policy allows no restart", 1)


def test_a_date_that_belongs_to_an_earlier_life_starts_nothing() -> None:
    supervisor = alone()
    supervisor.handle(Exited("writer", CRASH, 0.0))
    supervisor.handle(Due("writer", 1))
    supervisor.handle(Exited("writer", CRASH, 1.0))
    assert supervisor.handle(Due("writer", 1)) == []
    assert supervisor.handle(Due("writer", 2)) == [Spawn("writer")]


def test_with_abort_on_failure_the_first_that_fails_for_good_ends_everything() -> None:
    children = [Child(name, USUAL) for name in ("a", "b")]
    supervisor = Supervisor(children, exact, abort_on_failure=True)
    supervisor.start()
    gone = GiveUp("a", "no such method", 3)
    assert supervisor.handle(Exited("a", Ended(code=3, sentence="no such method"), 0.0)) == [gone, Drain(("b",), 0)]


def test_with_abort_on_failure_an_end_in_peace_and_a_crash_end_nothing() -> None:
    children = [Child(name, USUAL) for name in ("a", "b", "c")]
    supervisor = Supervisor(children, exact, abort_on_failure=True)
    supervisor.start()
    assert supervisor.handle(Exited("a", Ended(code=0), 0.0)) == [Finished("a")]
    assert supervisor.handle(Exited("b", CRASH, 0.0)) == [SpawnAfter("b", 0.25, 1, "exit 1", 1)]


def test_jitter_scales_the_delay_but_not_beyond_the_largest() -> None:
    [action] = alone(jitter=0.5).handle(Exited("writer", CRASH, 0.0))
    assert isinstance(action, SpawnAfter)
    assert action.delay == 0.125
    [action] = alone(RestartPolicy(delay=60.0, max_delay=10.0), jitter=1.25).handle(Exited("writer", CRASH, 0.0))
    assert isinstance(action, SpawnAfter)
    assert action.delay == 10.0


BACKS_OFF = [
    *(Ended(code=code, sentence=sentence) for code in (1, 2, 5, 6, 7, 124, 130, 143) for sentence in ("", "gone")),
    *(Ended(code=4, close_code=code) for code in (None, 4001, 4003, 1008)),
    *(Ended(signal=number) for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT)),
    Ended(sentence="no memory"),
]
"""Ends after which another start may go well."""


@pytest.mark.parametrize("condition", ["always", "on-failure"])
@pytest.mark.parametrize("ended", BACKS_OFF, ids=str)
@pytest.mark.parametrize("essential", [False, True])
def test_after_an_end_that_may_pass_it_is_started_again(condition: Condition, ended: Ended, essential: bool) -> None:
    supervisor = Supervisor([Child("it", RestartPolicy(condition), essential=essential), Child("other", USUAL)], exact)
    supervisor.start()
    supervisor.handle(Proven("it"))
    assert supervisor.handle(Exited("it", ended, 0.0)) == [SpawnAfter("it", 0.25, 1, str(ended), 1)]


@pytest.mark.parametrize("ended", BACKS_OFF, ids=str)
def test_a_policy_of_never_gives_up_after_any_failure(ended: Ended) -> None:
    [action] = alone(RestartPolicy("never")).handle(Exited("writer", ended, 0.0))
    assert action == GiveUp("writer", f"{ended}; its policy is never to restart", ended.code or 1)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("writer.3", "`--only writer.1-4` on one and `--only writer.5-8` on another"),
        ("writer", "; one machine alone runs 'writer', and the others `--except writer`"),
    ],
)
def test_whoever_is_replaced_at_the_hub_is_told_how_machines_share_replicas(name: str, advice: str) -> None:
    supervisor = Supervisor([Child(name, USUAL), Child("other", USUAL)], exact)
    supervisor.start()
    [gone] = supervisor.handle(Exited(name, Ended(code=4, close_code=4020, sentence="replaced"), 0.0))
    assert isinstance(gone, GiveUp)
    assert advice in gone.because


@pytest.mark.parametrize("condition", ["always", "on-failure", "never"])
@pytest.mark.parametrize("essential", [False, True])
@pytest.mark.parametrize(
    ("ended", "because"),
    [
        (Ended(code=3, sentence="no such method"), "no such method"),
        (Ended(code=3), "exit 3: its handler does not fit the topology"),
        (Ended(code=4, close_code=4012), "4012 "),
        (Ended(code=4, close_code=4020, sentence="replaced"), "4020 "),
    ],
)
def test_after_a_hopeless_end_no_policy_starts_it_again(
    condition: Condition, essential: bool, ended: Ended, because: str
) -> None:
    supervisor = Supervisor([Child("it", RestartPolicy(condition), essential=essential), Child("other", USUAL)], exact)
    supervisor.start()
    supervisor.handle(Proven("it"))
    gone, *rest = supervisor.handle(Exited("it", ended, 0.0))
    assert isinstance(gone, GiveUp)
    assert gone.because.startswith(because)
    assert gone.exit_code == ended.code
    assert rest == ([Drain(("other",), 0)] if essential else [])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("on-failure", Finished("writer")),
        ("never", Finished("writer")),
        ("always", SpawnAfter("writer", 0.25, 1, "exit 0", 1)),
    ],
)
def test_an_end_in_peace_is_followed_by_a_start_where_the_policy_is_always(
    condition: Condition, expected: Action
) -> None:
    assert alone(RestartPolicy(condition)).handle(Exited("writer", Ended(code=0), 0.0)) == [expected]


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
    assert supervisor.handle(Exited("(hub)", Ended(code=0), 0.0)) == [SpawnAfter("(hub)", 0.0, 1, "exit 0", 1)]
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
    assert supervisor.handle(Exited("(store)", REFUSED, 0.0)) == [SpawnAfter("(store)", 0.25, 1, str(REFUSED), 1)]


@pytest.mark.parametrize("ended", [CRASH, Ended(signal=signal.SIGKILL)])
def test_a_store_that_crashes_at_its_start_is_started_again(ended: Ended) -> None:
    assert with_store().handle(Exited("(store)", ended, 0.0)) == [SpawnAfter("(store)", 0.25, 1, str(ended), 1)]


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
