from __future__ import annotations

import pytest
from msgspec import Raw

from orchestrator.errors import PayloadTooLarge, PeerNotFound
from orchestrator.patterns.effects import Accepted, Note, Refused, Send, Unanswered, Unsent
from orchestrator.patterns.intake import (
    BEAT_SECONDS,
    CALLER_GRACE,
    REMEMBERED,
    REMEMBERED_BYTES,
    RETRY_SECONDS,
    Abort,
    Intake,
    Resend,
    Run,
)
from orchestrator.protocol.payloads import (
    UNKNOWN_TASK,
    Failure,
    Load,
    TaskAccepted,
    TaskError,
    TaskOffer,
    TaskProgress,
    TaskRefused,
    TaskResult,
)

RESULT = TaskResult("t1", Raw(b"1"), 1)
GONE = Refused(PeerNotFound("peer_not_found", ""))


def intake(capacity: int = 2, backlog: int = 0) -> Intake:
    return Intake({"Work": False, "Tell": True}.get, capacity, backlog)


def offer(task_id: str = "t1", attempt: int = 1, task: str = "Work", deadline: float | None = None) -> TaskOffer:
    return TaskOffer(task_id, "boss", task, Raw(b"{}"), attempt=attempt, deadline=deadline)


def test_what_was_begun_and_stopped_is_never_taken_for_what_never_came() -> None:
    worker = Intake({"Work": False}.get, 1, 0)
    worker.connected(0.0)
    worker.offered(offer(), "boss", 0.0)
    worker.caller_gone("t1", 1.0)
    assert Abort("t1", "its caller is gone") in worker.tick(1.0 + CALLER_GRACE)
    worker.finished("t1", TaskError("t1", Failure("TaskCancelled", "whatever the handler says")))
    told = TaskError("t1", Failure("TaskCancelled", "its caller is gone"), 1)
    [asked] = worker.asked_about("t1", "boss", 60.0)
    [again] = worker.offered(offer(), "boss", 61.0)
    for effect in (asked, again):
        assert isinstance(effect, Send)
        assert effect.payload == told


def test_outcomes_are_kept_by_their_size_as_well() -> None:
    worker, large = intake(), Raw(b'"' + b"x" * (REMEMBERED_BYTES // 4) + b'"')
    worker.connected(0.0)
    for number in range(8):
        worker.offered(offer(f"t{number}"), "boss", float(number))
        worker.finished(f"t{number}", TaskResult(f"t{number}", large, 1))
    effects = [effect for number in range(8) for effect in worker.asked_about(f"t{number}", "boss", 9.0)]
    told = [effect.payload for effect in effects if isinstance(effect, Send)]
    assert [isinstance(payload, TaskResult) for payload in told] == [False] * 5 + [True] * 3


def test_who_asks_about_an_unknown_task_hears_for_how_long_every_task_is_known() -> None:
    def remembers(worker: Intake, now: float) -> float | None:
        [effect] = worker.asked_about("never", "boss", now)
        assert isinstance(effect, Send)
        assert isinstance(effect.payload, TaskError)
        return effect.payload.remembers

    worker = intake()
    assert remembers(worker, 0.5) is None
    worker.connected(1.0)
    worker.connected(4.0)
    assert remembers(worker, 5.0) == 4.0
    for number in range(REMEMBERED + 1):
        worker.offered(offer(f"t{number}"), "boss", 10.0 + number)
        worker.finished(f"t{number}", RESULT)
    assert remembers(worker, 20.0 + REMEMBERED) == 10.0


def test_a_task_is_accepted_with_the_load_and_run() -> None:
    effects = intake().offered(offer(), "boss", 0.0)
    assert effects == [Send("boss", TaskAccepted("t1", 1, Load(1, 2))), Run(offer(), "boss", False)]


def test_an_unknown_task_is_refused_by_name() -> None:
    [effect] = intake().offered(offer(task="Wrok"), "boss", 0.0)
    assert isinstance(effect, Send)
    assert effect.payload == TaskRefused("t1", 1, "unknown task 'Wrok'", Load(0, 2))


def test_a_full_worker_refuses() -> None:
    worker = intake(capacity=1)
    worker.offered(offer("t1"), "boss", 0.0)
    assert worker.offered(offer("t2"), "boss", 0.0) == [Send("boss", TaskRefused("t2", 1, "full", Load(1, 1)))]


def test_a_task_beyond_the_capacity_waits_in_the_backlog_for_its_turn() -> None:
    worker = intake(capacity=1, backlog=1)
    worker.offered(offer("t1"), "boss", 0.0)
    assert worker.offered(offer("t2"), "boss", 0.0) == [Send("boss", TaskAccepted("t2", 1, Load(2, 1)))]
    assert Run(offer("t2"), "boss", False) in worker.finished("t1", RESULT)


def test_a_draining_worker_refuses_and_finishes_what_it_has() -> None:
    worker = intake()
    worker.offered(offer("t1"), "boss", 0.0)
    worker.drain()
    assert worker.offered(offer("t2"), "boss", 0.0) == [Send("boss", TaskRefused("t2", 1, "draining", Load(1, 2)))]
    assert not worker.idle
    worker.finished("t1", RESULT)
    worker.answered(("outcome", "boss", "t1", "1"), Accepted(), 1.0)
    assert [worker.idle] == [True]


def test_the_same_attempt_is_never_run_twice() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    assert worker.offered(offer(), "boss", 0.1) == [Send("boss", TaskAccepted("t1", 1, Load(1, 2)))]
    worker.finished("t1", RESULT)
    assert worker.offered(offer(), "boss", 2.0) == [Send("boss", RESULT, ("outcome", "boss", "t1", 1), in_parts=True)]


def test_an_ended_stream_that_is_offered_again_is_sent_again() -> None:
    worker = intake()
    worker.offered(offer(task="Tell"), "boss", 0.0)
    worker.finished("t1", None)
    assert worker.offered(offer(task="Tell"), "boss", 2.0) == [Resend("t1", "boss")]


def test_the_id_of_somebody_elses_task_is_refused() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    [effect] = worker.offered(offer(), "mallory", 0.0)
    assert isinstance(effect, Send)
    assert isinstance(effect.payload, TaskRefused)
    assert effect.to == "mallory"


def test_only_its_caller_can_cancel_a_task() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    assert worker.cancelled("t1", "mallory") == []
    assert worker.cancelled("t1", "boss") == [Abort("t1", "cancelled by its caller", told=True)]


def test_a_cancelled_task_has_no_outcome() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.cancelled("t1", "boss")
    assert worker.finished("t1", RESULT) == []
    assert worker.idle


def test_a_cancelled_task_in_the_backlog_is_never_run() -> None:
    worker = intake(capacity=1, backlog=1)
    worker.offered(offer("t1"), "boss", 0.0)
    worker.offered(offer("t2"), "boss", 0.0)
    assert worker.cancelled("t2", "boss") == []
    assert not any(isinstance(effect, Run) for effect in worker.finished("t1", RESULT))


def test_a_deadline_that_passes_stops_the_handler() -> None:
    worker = intake()
    worker.offered(offer(deadline=3.0), "boss", 0.0)
    assert worker.next_tick() == 3.0
    assert worker.tick(2.9) == []
    assert worker.tick(3.0) == [Abort("t1", "its deadline passed", told=True)]


def test_a_running_task_gives_signs_of_life_with_its_last_progress() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    assert worker.progressed("t1", 0.5, "half") == [
        Send("boss", TaskProgress("t1", 1, 0.5, "half"), ("beat", "t1")),
    ]
    assert worker.tick(BEAT_SECONDS) == [Send("boss", TaskProgress("t1", 1, 0.5, "half"), ("beat", "t1"))]


def test_a_caller_that_stays_away_has_its_task_cancelled_after_the_grace() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.answered(("beat", "t1"), GONE, 5.0)
    assert not any(isinstance(effect, Abort) for effect in worker.tick(5.0 + CALLER_GRACE - 1))
    assert worker.tick(5.0 + CALLER_GRACE) == [Abort("t1", "its caller is gone")]


def test_a_caller_that_comes_back_keeps_its_task() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.answered(("beat", "t1"), GONE, 5.0)
    worker.answered(("beat", "t1"), Accepted(), 10.0)
    assert not any(isinstance(effect, Abort) for effect in worker.tick(6.0 + CALLER_GRACE))


@pytest.mark.parametrize("answer", [GONE, Unanswered(), Unsent()])
def test_an_outcome_that_was_not_heard_is_told_again(answer: Refused | Unanswered | Unsent) -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    assert worker.finished("t1", RESULT) == [Send("boss", RESULT, ("outcome", "boss", "t1", 1), in_parts=True)]
    worker.answered(("outcome", "boss", "t1", "1"), answer, 1.0)
    assert worker.tick(1.0 + RETRY_SECONDS) == [Send("boss", RESULT, ("outcome", "boss", "t1", 1), in_parts=True)]
    worker.answered(("outcome", "boss", "t1", "1"), Accepted(), 2.0)
    assert worker.next_tick() is None


def test_a_reconnect_speaks_to_every_caller_at_once() -> None:
    worker = intake()
    worker.offered(offer("t1"), "boss", 0.0)
    worker.offered(offer("t2"), "boss", 0.0)
    worker.finished("t1", RESULT)
    assert worker.connected(2.0) == [
        Send("boss", TaskProgress("t2", 1), ("beat", "t2")),
        Send("boss", RESULT, ("outcome", "boss", "t1", 1), in_parts=True),
    ]


def test_an_outcome_whose_caller_stays_away_is_dropped_and_said_so() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.finished("t1", RESULT)
    worker.answered(("outcome", "boss", "t1", "1"), GONE, 1.0)
    [note] = worker.tick(1.0 + CALLER_GRACE)
    assert isinstance(note, Note)
    assert "dropped" in note.event
    assert worker.idle


def test_a_result_that_the_hub_refuses_becomes_a_failure_that_it_takes() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.finished("t1", RESULT)
    effects = worker.answered(("outcome", "boss", "t1", "1"), Refused(PayloadTooLarge(99, 1)), 1.0)
    sends = [effect.payload for effect in effects if isinstance(effect, Send)]
    assert [type(payload) for payload in sends] == [TaskError]


def test_a_task_that_is_not_known_is_said_not_to_be() -> None:
    worker = intake()
    [effect] = worker.asked_about("t9", "boss", 9.0)
    assert isinstance(effect, Send)
    assert isinstance(effect.payload, TaskError)
    assert effect.payload.error.type == UNKNOWN_TASK
    worker.offered(offer(), "boss", 0.0)
    assert worker.asked_about("t1", "boss", 9.0) == [Send("boss", TaskProgress("t1", 1))]


def test_an_outcome_is_kept_while_it_is_this_worker_that_is_away() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.finished("t1", RESULT)
    worker.answered(("outcome", "boss", "t1", "1"), Unsent(), 1.0)
    worker.tick(2 * CALLER_GRACE)
    worker.answered(("outcome", "boss", "t1", "1"), Unsent(), 2 * CALLER_GRACE)
    assert worker.connected(3 * CALLER_GRACE) == [Send("boss", RESULT, ("outcome", "boss", "t1", 1), in_parts=True)]


def test_callers_that_choose_the_same_id_each_get_their_own_outcome() -> None:
    worker = intake()
    worker.offered(offer("1"), "boss", 0.0)
    worker.finished("1", RESULT)
    assert Run(offer("1"), "chief", False) in worker.offered(offer("1"), "chief", 1.0)


def test_nobody_is_told_of_the_outcome_of_another() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.finished("t1", RESULT)
    [effect] = worker.asked_about("t1", "mallory", 9.0)
    assert isinstance(effect, Send)
    assert isinstance(effect.payload, TaskError)
    assert worker.asked_about("t1", "boss", 9.0) == [Send("boss", RESULT)]


def test_a_stream_whose_chunks_are_no_longer_kept_is_said_to_be_broken() -> None:
    worker = intake()
    worker.offered(offer(task="Tell"), "boss", 0.0)
    worker.finished("t1", None)
    [effect] = worker.asked_about("t1", "boss", 9.0)
    assert isinstance(effect, Send)
    assert isinstance(effect.payload, TaskError)
    assert effect.payload.error.type == "StreamBroken"


def test_a_task_that_is_offered_again_while_it_is_being_stopped_is_to_come_back_later() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    worker.cancelled("t1", "boss")
    assert worker.offered(offer(attempt=2), "boss", 1.0) == [Send("boss", TaskRefused("t1", 2, "full", Load(1, 2)))]


def test_at_the_end_what_was_not_begun_is_handed_back() -> None:
    worker = intake(capacity=1, backlog=1)
    worker.offered(offer("t1"), "boss", 0.0)
    worker.offered(offer("t2"), "boss", 0.0)
    assert worker.stop() == [Send("boss", TaskRefused("t2", 1, "draining", Load(1, 1)))]
    assert not any(isinstance(effect, Run) for effect in worker.finished("t1", RESULT))


def test_tasks_that_were_cancelled_while_they_waited_leave_nothing_behind() -> None:
    worker = intake(capacity=1, backlog=1)
    worker.offered(offer("t1"), "boss", 0.0)
    for _ in range(100):
        worker.offered(offer("t2"), "boss", 0.0)
        worker.cancelled("t2", "boss")
    assert len(worker._queue) == 0


def test_of_much_progress_only_the_last_goes_out_when_the_hub_has_taken_the_one_before() -> None:
    worker = intake()
    worker.offered(offer(), "boss", 0.0)
    assert len(worker.progressed("t1", 0.0, None)) == 1
    assert [worker.progressed("t1", step / 100, None) for step in range(1, 100)] == [[]] * 99
    assert worker.answered(("beat", "t1"), Accepted(), 1.0) == [
        Send("boss", TaskProgress("t1", 1, 0.99), ("beat", "t1"))
    ]
    assert worker.answered(("beat", "t1"), Accepted(), 1.0) == []


def test_a_tick_at_the_time_that_was_asked_for_ends_what_was_due() -> None:
    """Also where rounding makes less than the deadline of the two clocks' sum: else the shell would ask again and again."""
    offset, deadline = 388555.27819263935, 1790000012.2122538
    assert (deadline - offset) + offset < deadline
    worker = Intake({"Work": False}.get, 1, 0, wall_offset=offset)
    worker.offered(offer(deadline=deadline), "boss", deadline - offset - 1.0)
    due = worker.next_tick()
    assert due is not None
    assert any(isinstance(effect, Abort) for effect in worker.tick(due))
