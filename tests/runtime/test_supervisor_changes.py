"""A run whose children come, go, change and are restarted on request, while it goes on."""

from __future__ import annotations

import pytest

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

PEACE = Ended(code=0)
CRASH = Ended(code=1)
MISFIT = Ended(code=3, sentence="no such method")
KILLED = Ended(signal=9)
USUAL = RestartPolicy()


def running(*names: str, policy: RestartPolicy = USUAL) -> Supervisor:
    """Return a supervisor of proven children."""
    supervisor = Supervisor([Child(name, policy) for name in names], lambda: 1.0)
    supervisor.start()
    for name in names:
        supervisor.handle(Proven(name))
    return supervisor


def with_hub(*names: str) -> Supervisor:
    hub = Child("(hub)", RestartPolicy("always"), rank=1, essential=True)
    supervisor = Supervisor([hub, *(Child(name, USUAL) for name in names)], lambda: 1.0)
    supervisor.start()
    return supervisor


def exited(supervisor: Supervisor, name: str, ended: Ended = PEACE, at: float = 0.0) -> list[object]:
    return [*supervisor.handle(Exited(name, ended, at))]


# -- children that come and go


def test_those_that_come_are_started_at_once_in_their_order() -> None:
    supervisor = running("a")
    assert supervisor.handle(Enlisted((Child("c", USUAL), Child("b", USUAL)))) == [Spawn("c"), Spawn("b")]
    assert exited(supervisor, "c", CRASH) == [SpawnAfter("c", 0.25, 1, "exit 1", 1)]


def test_one_that_goes_is_ended_in_peace_and_forgotten() -> None:
    supervisor = running("a", "b")
    assert supervisor.handle(Dismissed(("b",))) == [Retire("b", 1)]
    assert exited(supervisor, "b") == []
    assert supervisor.handle(StopAsked()) == [Drain(("a",), 0)]
    assert (supervisor.failed, supervisor.unclean) == ({}, {})


@pytest.mark.parametrize("ended", [CRASH, KILLED, MISFIT])
def test_one_that_goes_in_another_way_than_in_peace_is_remembered_as_unclean(ended: Ended) -> None:
    supervisor = running("a", "b")
    supervisor.handle(Dismissed(("b",)))
    assert exited(supervisor, "b", ended) == []
    assert (supervisor.failed, supervisor.unclean) == ({}, {"b": ended})


def test_one_that_does_not_go_in_its_time_is_killed() -> None:
    supervisor = running("a", "b")
    supervisor.handle(Dismissed(("b",)))
    assert supervisor.handle(RetireOver("b", 1)) == [Kill("b")]


def test_one_that_waits_for_its_restart_goes_at_once() -> None:
    supervisor = running("a", "b")
    exited(supervisor, "b", CRASH)
    assert supervisor.handle(Dismissed(("b",))) == []
    assert supervisor.handle(Due("b", 1)) == []


def test_the_failure_of_one_that_goes_is_forgotten_with_it() -> None:
    supervisor = running("a", "b")
    exited(supervisor, "b", MISFIT)
    assert supervisor.handle(Dismissed(("b",))) == []
    assert supervisor.failed == {}


def test_one_that_comes_back_while_it_goes_is_started_when_its_process_has_ended() -> None:
    supervisor = running("a", "b")
    supervisor.handle(Dismissed(("b",)))
    assert supervisor.handle(Enlisted((Child("b", RestartPolicy("never")),))) == []
    assert exited(supervisor, "b") == [Spawn("b")]
    assert exited(supervisor, "b", CRASH) == [GiveUp("b", "exit 1; its policy is never to restart", 1)]


def test_a_grace_that_is_over_late_kills_no_later_life_not_even_of_one_that_was_forgotten() -> None:
    supervisor = running("a", "b")
    supervisor.handle(Dismissed(("b",)))
    exited(supervisor, "b")
    supervisor.handle(Enlisted((Child("b", USUAL),)))
    assert supervisor.handle(RetireOver("b", 1)) == []
    assert supervisor.handle(Dismissed(("b",))) == [Retire("b", 2)]
    assert supervisor.handle(RetireOver("b", 1)) == []
    assert supervisor.handle(RetireOver("b", 2)) == [Kill("b")]


def test_a_run_goes_on_as_long_as_anybody_is_left_to_serve() -> None:
    supervisor = with_hub("a", "b")
    supervisor.handle(Dismissed(("b",)))
    assert exited(supervisor, "b") == []
    assert supervisor.handle(Dismissed(("a",))) == [Retire("a", 1)]
    assert exited(supervisor, "a") == [Drain(("(hub)",), 1)]


def test_when_only_those_that_are_over_are_left_the_run_ends() -> None:
    supervisor = with_hub("a", "b", "c")
    exited(supervisor, "a", MISFIT)
    exited(supervisor, "c", CRASH)
    supervisor.handle(Dismissed(("b",)))
    assert exited(supervisor, "b") == []
    assert supervisor.handle(Dismissed(("c",))) == [Drain(("(hub)",), 1)]


def test_a_policy_is_replaced_without_touching_the_process() -> None:
    supervisor = running("a", "b")
    assert supervisor.handle(Repolicied(Child("b", RestartPolicy("never"), rank=1))) == []
    assert supervisor.handle(StopAsked()) == [Drain(("a",), 0)]
    supervisor = running("a", "b")
    supervisor.handle(Repolicied(Child("b", RestartPolicy("never"))))
    assert exited(supervisor, "b", CRASH) == [GiveUp("b", "exit 1; its policy is never to restart", 1)]


# -- restarts that are asked for


def test_a_rolling_restart_takes_one_after_the_other() -> None:
    supervisor = running("a", "b", "c")
    assert supervisor.handle(RestartAsked(("c", "a"))) == [Retire("c", 1)]
    assert exited(supervisor, "c") == [Spawn("c")]
    assert supervisor.handle(Proven("b")) == []
    assert supervisor.handle(Proven("c")) == [Retire("a", 1)]
    assert exited(supervisor, "a") == [Spawn("a")]
    assert supervisor.handle(Proven("a")) == [Rolled(("c", "a"))]
    assert supervisor.restarts == 0


def test_what_a_process_does_on_its_way_out_is_not_the_next_ones_proof() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a", "b")))
    assert supervisor.handle(Proven("a")) == []
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Retire("b", 1)]


@pytest.mark.parametrize("ended", [CRASH, KILLED, MISFIT, Ended(code=4, close_code=4020)])
@pytest.mark.parametrize("policy", [USUAL, RestartPolicy("never")])
def test_however_it_ends_once_it_has_been_told_to_it_is_started_anew(ended: Ended, policy: RestartPolicy) -> None:
    supervisor = running("a", "b", policy=policy)
    supervisor.handle(RestartAsked(("a",)))
    assert exited(supervisor, "a", ended) == [Spawn("a")]
    assert (supervisor.failed, supervisor.unclean) == ({}, {})


def test_one_that_does_not_end_for_its_restart_is_killed_and_started_anew() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a",)))
    assert supervisor.handle(RetireOver("a", 1)) == [Kill("a")]
    assert exited(supervisor, "a", KILLED) == [Spawn("a")]
    assert supervisor.handle(RetireOver("a", 1)) == []


def test_one_that_waits_is_started_now_and_its_date_is_void() -> None:
    supervisor = running("a", "b")
    exited(supervisor, "a", CRASH)
    assert supervisor.handle(RestartAsked(("a",))) == [Spawn("a")]
    exited(supervisor, "a", CRASH)
    assert supervisor.handle(Due("a", 1)) == []
    assert supervisor.handle(Due("a", 2)) == [Spawn("a")]


@pytest.mark.parametrize("ended", [MISFIT, PEACE])
def test_one_that_is_over_begins_with_a_clean_slate(ended: Ended) -> None:
    supervisor = running("a", "b", policy=RestartPolicy(max_attempts=1))
    exited(supervisor, "a", CRASH)
    supervisor.handle(Due("a", 1))
    exited(supervisor, "a", ended)
    assert supervisor.handle(RestartAsked(("a",))) == [Spawn("a")]
    assert supervisor.failed == {}
    assert exited(supervisor, "a", CRASH) == [SpawnAfter("a", 0.25, 1, "exit 1", 3)]


def test_a_restart_that_was_asked_for_resets_the_window() -> None:
    supervisor = running("a", "b", policy=RestartPolicy(max_attempts=1))
    exited(supervisor, "a", CRASH)
    supervisor.handle(Due("a", 1))
    supervisor.handle(RestartAsked(("a",)))
    exited(supervisor, "a")
    assert exited(supervisor, "a", CRASH) == [SpawnAfter("a", 0.25, 1, "exit 1", 3)]


def test_a_crash_in_its_turn_is_waited_out() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a", "b")))
    exited(supervisor, "a")
    assert exited(supervisor, "a", CRASH) == [SpawnAfter("a", 0.25, 1, "exit 1", 2)]
    assert supervisor.handle(Due("a", 2)) == [Spawn("a")]
    assert supervisor.handle(Proven("a")) == [Retire("b", 1)]


def test_one_that_fails_for_good_in_its_turn_stops_the_roll_and_the_others_are_left_alone() -> None:
    supervisor = running("a", "b", "c")
    supervisor.handle(RestartAsked(("a", "b", "c")))
    exited(supervisor, "a")
    supervisor.handle(Proven("a"))
    exited(supervisor, "b")
    assert exited(supervisor, "b", MISFIT) == [
        GiveUp("b", "no such method", 3),
        RollStopped("b", ("c",), "no such method", ("a", "b", "c")),
    ]
    assert set(supervisor.failed) == {"b"}


def test_a_start_that_two_askings_share_fails_for_both() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a", "b")))
    supervisor.handle(RestartAsked(("b", "a")))
    exited(supervisor, "a")
    assert exited(supervisor, "a", MISFIT) == [
        GiveUp("a", "no such method", 3),
        RollStopped("a", ("b",), "no such method", ("a", "b")),
        RollStopped("a", ("b",), "no such method", ("b", "a")),
    ]


def test_whoever_asks_after_the_start_that_fails_sees_another_one() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a",)))
    exited(supervisor, "a")
    assert supervisor.handle(RestartAsked(("a",))) == [Retire("a", 2)]
    assert exited(supervisor, "a", MISFIT) == [Spawn("a")]
    assert supervisor.handle(Proven("a")) == [Rolled(("a",)), Rolled(("a",))]


def test_one_that_ends_in_peace_in_its_turn_is_not_waited_for() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a", "b")))
    exited(supervisor, "a")
    assert exited(supervisor, "a") == [Finished("a"), Retire("b", 1)]


def test_a_child_whose_failure_comes_before_its_turn_gets_its_turn() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a", "b")))
    assert exited(supervisor, "b", MISFIT) == [GiveUp("b", "no such method", 3)]
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Spawn("b")]
    assert supervisor.handle(Proven("b")) == [Rolled(("a", "b"))]


def test_a_child_that_was_started_by_itself_since_it_was_asked_for_is_not_started_twice() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a", "b")))
    exited(supervisor, "b", CRASH)
    supervisor.handle(Due("b", 1))
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == []  # b has yet to prove itself
    assert supervisor.handle(Proven("b")) == [Rolled(("a", "b"))]


def test_one_that_waits_is_not_started_before_its_turn_because_it_is_asked_for() -> None:
    supervisor = running("a", "b")
    exited(supervisor, "b", CRASH)
    assert supervisor.handle(RestartAsked(("a", "b"))) == [Retire("a", 1)]
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Spawn("b")]


def test_one_that_never_gets_ready_is_in_nobodys_way_and_can_be_started_once_more() -> None:
    supervisor = running("a", "b", "c")
    supervisor.handle(RestartAsked(("a", "b")))
    exited(supervisor, "a")  # and its next life hangs
    assert supervisor.handle(RestartAsked(("c",))) == [Retire("c", 1)]
    exited(supervisor, "c")
    assert supervisor.handle(Proven("c")) == [Rolled(("c",))]
    assert supervisor.handle(RestartAsked(("b", "a"))) == [Retire("a", 2)], "what kept it may have been mended"
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Retire("b", 1)]
    exited(supervisor, "b")
    assert supervisor.handle(Proven("b")) == [Rolled(("a", "b")), Rolled(("b", "a"))]


def test_askings_that_overlap_share_the_starts_that_come_after_both() -> None:
    supervisor = running("a", "b", "c")
    supervisor.handle(RestartAsked(("a", "b")))
    assert supervisor.handle(RestartAsked(("b", "a", "c", "c"))) == []
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Retire("b", 1)]
    exited(supervisor, "b")
    assert supervisor.handle(Proven("b")) == [Rolled(("a", "b")), Retire("c", 1)]
    exited(supervisor, "c")
    assert supervisor.handle(Proven("c")) == [Rolled(("b", "a", "c", "c"))]


def test_one_that_had_been_started_already_when_it_was_asked_for_again_is_started_again() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a",)))
    exited(supervisor, "a")
    assert supervisor.handle(RestartAsked(("a",))) == [Retire("a", 2)]
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Rolled(("a",)), Rolled(("a",))]


def test_asked_for_again_while_it_waits_in_its_turn_it_is_started_now() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a",)))
    exited(supervisor, "a")
    exited(supervisor, "a", CRASH)
    assert supervisor.handle(RestartAsked(("a",))) == [Spawn("a")]
    assert supervisor.handle(Proven("a")) == [Rolled(("a",)), Rolled(("a",))]


def test_one_that_goes_in_its_turn_is_not_waited_for() -> None:
    supervisor = running("a", "b", "c")
    supervisor.handle(RestartAsked(("a", "b")))
    assert supervisor.handle(Dismissed(("a",))) == [Retire("b", 1)]
    assert exited(supervisor, "a") == []
    assert supervisor.handle(Dismissed(("b",))) == [Rolled(("a", "b"))]


def test_names_of_nobody_are_complete_at_once() -> None:
    assert running("a").handle(RestartAsked(("nobody",))) == [Rolled(("nobody",))]


def test_what_is_replaced_is_restarted_under_its_new_policy() -> None:
    supervisor = running("a", "b")
    assert supervisor.handle(Replaced((Child("a", RestartPolicy("never"), rank=1),))) == [Retire("a", 1)]
    exited(supervisor, "a")
    assert supervisor.handle(Proven("a")) == [Rolled(("a",))]
    assert supervisor.handle(StopAsked()) == [Drain(("b",), 0)]


def test_a_server_is_restarted_like_everybody_else() -> None:
    supervisor = with_hub("a")
    supervisor.handle(Proven("(hub)"))
    assert supervisor.handle(RestartAsked(("(hub)",))) == [Retire("(hub)", 1)]
    assert exited(supervisor, "(hub)", Ended(code=1, sentence="something")) == [Spawn("(hub)")]
    assert supervisor.handle(Proven("(hub)")) == [Rolled(("(hub)",))]


# -- a stop in the middle


def test_a_stop_ends_those_that_retire_with_the_rest_and_starts_nothing_more() -> None:
    supervisor = running("a", "b", "c")
    supervisor.handle(RestartAsked(("a", "b")))
    supervisor.handle(Dismissed(("c",)))
    assert supervisor.handle(StopAsked()) == [Drain(("a", "b", "c"), 0)]
    assert exited(supervisor, "a") == []
    assert exited(supervisor, "c", KILLED) == []
    assert supervisor.handle(GraceOver(0)) == [Kill("b")]
    assert exited(supervisor, "b") == [AllStopped()]
    assert set(supervisor.unclean) == {"c"}


def test_a_grace_that_began_before_the_stop_ends_when_it_was_to_end() -> None:
    supervisor = running("a", "b")
    supervisor.handle(RestartAsked(("a",)))
    supervisor.handle(StopAsked())
    assert supervisor.handle(RetireOver("a", 1)) == [Kill("a")]
    assert supervisor.handle(RetireOver("b", 1)) == []


def test_while_everything_ends_nobody_comes_and_nothing_is_restarted() -> None:
    supervisor = running("a", "b")
    exited(supervisor, "b", CRASH)
    supervisor.handle(StopAsked())
    new = Child("c", USUAL)
    for fact in (Enlisted((new,)), RestartAsked(("a", "b")), Replaced((new,)), Dismissed(("a",)), Due("b", 1)):
        assert supervisor.handle(fact) == []
    assert exited(supervisor, "a") == [AllStopped()]


def test_asked_twice_to_stop_it_kills_those_that_retire_too() -> None:
    supervisor = running("a", "b", "c")
    supervisor.handle(RestartAsked(("a",)))
    supervisor.handle(Dismissed(("c",)))
    supervisor.handle(StopAsked())
    assert supervisor.handle(StopAsked()) == [Kill("a"), Kill("b"), Kill("c")]
