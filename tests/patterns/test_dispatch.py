from __future__ import annotations

import pytest
from msgspec import Raw

from orchestrator.errors import (
    NotAuthorized,
    NoWorkerAvailable,
    PeerNotFound,
    RequestRefused,
    StreamBroken,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
    WorkerLost,
)
from orchestrator.patterns.alarms import STALE_ALARMS
from orchestrator.patterns.dispatch import DRAIN_GRACE, LOST_GRACE, PROBE_SECONDS, STREAM_GRACE, Dispatcher
from orchestrator.patterns.effects import Accepted, Note, Publish, Refused, Send, Unanswered, Unsent
from orchestrator.patterns.jobs import ASKED, Chunked, Effect, Finished, Order, Progressed
from orchestrator.patterns.workforce import FULL_PAUSE, RETURN_SECONDS, Pool, Workforce
from orchestrator.protocol.frames import Present
from orchestrator.protocol.payloads import (
    UNKNOWN_TASK,
    Ask,
    CompletionChunk,
    Failure,
    Load,
    StreamAck,
    StreamResume,
    TaskAccepted,
    TaskCancel,
    TaskError,
    TaskOffer,
    TaskProgress,
    TaskRefused,
    TaskResult,
)

CHANNEL = "pools/helper"
POOL = Pool("helper", {"Safe": True, "Once": False, "Tell": False}, CHANNEL, concurrency=2)


def helper(number: int, *capabilities: str) -> Present:
    return Present(f"helper.{number}", {"kind": "agent", "capabilities": list(capabilities)})


def dispatcher(*present: Present, pool: Pool = POOL) -> Dispatcher:
    engine = Dispatcher("boss", Workforce([pool]), wall_offset=1_000.0)
    engine.connected(-RETURN_SECONDS)
    engine.tick(0.0)
    if pool.channel is not None:
        join(engine, *present, whole=True)
    return engine


def join(engine: Dispatcher, *present: Present, whole: bool = False, now: float = 0.0) -> list[Effect]:
    return engine.presence(engine.workforce.present(CHANNEL, present, (), whole=whole), now, whole=whole)


def leave(engine: Dispatcher, peer: str, reason: str, now: float) -> list[Effect]:
    changes = engine.workforce.present(CHANNEL, (), [Present(peer, reason=reason)], whole=False)
    return engine.presence(changes, now, whole=False)


def order(task_id: str = "t1", task: str = "Once", timeout: float = 60.0, *requires: str) -> Order:
    return Order(task_id, task, Raw(b"{}"), timeout, requires=frozenset(requires))


def offers(effects: list[Effect]) -> list[tuple[str, str, int]]:
    """Which task went where, at which attempt."""
    return [
        (effect.payload.task_id, effect.channel.removeprefix("tasks/"), effect.payload.attempt)
        for effect in effects
        if isinstance(effect, Publish) and isinstance(effect.payload, TaskOffer)
    ]


def ends(effects: list[Effect]) -> list[Finished]:
    return [effect for effect in effects if isinstance(effect, Finished)]


def error_of(effects: list[Effect]) -> Exception | None:
    [end] = ends(effects)
    return end.error


class TestChoice:
    def test_a_task_goes_to_one_worker_with_all_that_it_needs_to_know(self) -> None:
        engine = dispatcher(helper(1))
        [effect] = engine.submit(order(), 5.0)
        assert isinstance(effect, Publish)
        assert effect.channel == "tasks/helper.1"
        assert effect.payload == TaskOffer("t1", "boss", "Once", Raw(b"{}"), attempt=1, deadline=1_065.0)

    def test_tasks_go_round_among_workers_that_have_equally_little_to_do(self) -> None:
        engine = dispatcher(helper(1), helper(2), helper(3))
        given = [offers(engine.submit(order(f"t{number}"), 0.0))[0][1] for number in range(6)]
        assert sorted(given[:3]) == ["helper.1", "helper.2", "helper.3"]
        assert given[3:] == given[:3]

    def test_the_least_loaded_by_its_own_word_comes_first(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        engine.submit(order("t1"), 0.0)
        engine.submit(order("t2"), 0.0)
        engine.receive("helper.1", TaskResult("t1", Raw(b"1"), 1, Load(2, 4)), 1.0)
        engine.receive("helper.2", TaskResult("t2", Raw(b"1"), 1, Load(0, 4)), 1.0)
        assert offers(engine.submit(order("t3"), 2.0)) == [("t3", "helper.2", 1)]
        assert offers(engine.submit(order("t4"), 2.0)) == [("t4", "helper.2", 1)]

    def test_what_exceeds_the_workers_concurrency_waits_for_a_place(self) -> None:
        engine = dispatcher(helper(1))
        for number in range(2):
            assert offers(engine.submit(order(f"t{number}"), 0.0))
        assert engine.submit(order("t2"), 0.0) == []
        effects = engine.receive("helper.1", TaskResult("t0", Raw(b"1"), 1), 1.0)
        assert offers(effects) == [("t2", "helper.1", 1)]

    def test_only_the_able_are_chosen(self) -> None:
        engine = dispatcher(helper(1), helper(2, "pdf"))
        assert offers(engine.submit(order("t1", "Once", 60.0, "pdf"), 0.0)) == [("t1", "helper.2", 1)]
        error = error_of(engine.submit(order("t2", "Once", 60.0, "web"), 0.0))
        assert str(error) == "no worker with 'web' is online for Once; it is handled by 'helper'"

    def test_nobody_online_is_said_at_once(self) -> None:
        assert isinstance(error_of(dispatcher().submit(order(), 0.0)), NoWorkerAvailable)

    def test_a_task_that_nobody_handles_is_said_at_once(self) -> None:
        assert str(error_of(dispatcher(helper(1)).submit(order(task="Wrong"), 0.0))) == (
            "no worker of this agent handles Wrong"
        )

    def test_right_after_a_connect_nothing_is_concluded_from_absence(self) -> None:
        """Workers start at about the same time as their coordinator."""
        engine = Dispatcher("boss", Workforce([POOL]))
        engine.connected(0.0)
        join(engine, whole=True)
        assert engine.submit(order(), 0.1) == []
        assert engine.next_tick() == RETURN_SECONDS
        assert isinstance(error_of(engine.tick(RETURN_SECONDS)), NoWorkerAvailable)

    def test_before_the_first_roster_nothing_is_concluded_from_absence(self) -> None:
        engine = Dispatcher("boss", Workforce([POOL]))
        assert engine.submit(order(), 0.0) == []
        assert offers(join(engine, helper(1), whole=True)) == [("t1", "helper.1", 1)]


class TestEnds:
    def test_a_result_ends_the_task(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.receive("helper.1", TaskAccepted("t1", 1), 0.1) == []
        assert engine.receive("helper.1", TaskResult("t1", Raw(b"7"), 1), 1.0) == [Finished("t1", Raw(b"7"))]
        assert len(engine) == 0

    def test_a_failure_names_worker_attempt_and_what_was_raised(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        error = error_of(engine.receive("helper.1", TaskError("t1", Failure("ValueError", "bad")), 1.0))
        assert str(error) == "Once failed at helper.1 (attempt 1): ValueError: bad"

    def test_a_passed_deadline_ends_the_task_and_tells_the_worker(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(timeout=3.0), 0.0)
        assert engine.next_tick() == 3.0
        effects = engine.tick(3.0)
        assert effects[0] == Send("helper.1", TaskCancel("t1"))
        assert isinstance(error_of(effects), TaskTimeout)

    def test_a_cancelled_task_tells_the_worker(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        effects = engine.cancel("t1", 1.0)
        assert effects[0] == Send("helper.1", TaskCancel("t1"))
        assert isinstance(error_of(effects), TaskCancelled)
        assert engine.cancel("t1", 1.0) == []

    def test_an_outcome_from_somebody_who_was_not_given_the_task_does_not_count(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        engine.submit(order(), 0.0)
        [note] = engine.receive("mallory", TaskResult("t1", Raw(b"7")), 1.0)
        assert isinstance(note, Note)
        assert len(engine) == 1

    def test_an_outcome_for_an_unknown_task_is_noted(self) -> None:
        [note] = dispatcher(helper(1)).receive("helper.1", TaskResult("t9", Raw(b"7")), 1.0)
        assert isinstance(note, Note)

    def test_progress_is_passed_on(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.receive("helper.1", TaskProgress("t1", 1, 0.5, "half"), 1.0) == [
            Progressed("t1", "helper.1", 0.5, "half")
        ]

    def test_a_task_whose_time_is_over_before_it_begins_is_given_to_nobody(self) -> None:
        engine = dispatcher(helper(1))
        [end] = engine.submit(order(timeout=0.0), 0.0)
        assert isinstance(end, Finished)
        assert isinstance(end.error, TaskTimeout)

    def test_a_worker_that_was_away_when_its_task_was_cancelled_is_told_when_it_speaks(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        engine.cancel("t1", 1.0)
        assert engine.receive("helper.1", TaskProgress("t1", 1), 2.0) == [Send("helper.1", TaskCancel("t1"))]

    def test_work_that_a_process_before_this_one_gave_out_is_wanted_by_nobody(self) -> None:
        engine = dispatcher(helper(1))
        assert engine.receive("helper.1", TaskProgress("orphan", 1), 2.0) == [Send("helper.1", TaskCancel("orphan"))]
        told = [engine.receive("helper.1", chunk(number, of="s9"), 2.0) for number in range(3)]
        assert told == [[Send("helper.1", TaskCancel("s9"))], [], []]

    def test_work_that_another_connection_of_this_user_gave_out_is_left_alone(self) -> None:
        engine = Dispatcher("ann", Workforce([POOL]), sole=False)
        assert engine.receive("helper.1", TaskProgress("of another one", 1), 2.0) == []
        assert engine.receive("helper.1", chunk(0, of="s9"), 2.0) == []

    def test_after_the_end_of_the_connection_every_task_ends_at_once(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        lost = TaskCancelled("Once", None)
        assert error_of(engine.abandoned(lost)) is lost
        assert error_of(engine.submit(order("t2"), 1.0)) is lost

    def test_tasks_that_have_ended_leave_nothing_behind(self) -> None:
        engine = dispatcher(helper(1))
        for number in range(3 * STALE_ALARMS):
            engine.submit(order(f"t{number}"), 0.0)
            engine.receive("helper.1", TaskResult(f"t{number}", Raw(b"1"), 1), 0.0)
        assert len(engine._alarms) <= STALE_ALARMS + 2


class TestUndelivered:
    def test_when_nobody_received_it_another_worker_is_tried_at_once(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, first, _)] = offers(engine.submit(order(), 0.0))
        [(_, second, attempt)] = offers(engine.answered(("t1", 1), Accepted(0), 0.1))
        assert {first, second} == {"helper.1", "helper.2"}
        assert attempt == 2

    def test_when_nobody_is_left_to_try_there_is_no_worker(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert isinstance(error_of(engine.answered(("t1", 1), Accepted(0), 0.1)), NoWorkerAvailable)

    def test_a_hub_that_counts_no_receivers_is_believed(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.answered(("t1", 1), Accepted(None), 0.1) == []

    def test_a_missing_right_ends_the_task_with_its_name(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        refusal = Refused(NotAuthorized("channel_not_authorized", "", "tasks/helper.1"))
        error = error_of(engine.answered(("t1", 1), refusal, 0.1))
        assert isinstance(error, NotAuthorized)
        assert error.subject == "tasks/helper.1"

    def test_what_never_left_waits_for_the_connection(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.answered(("t1", 1), Unsent(), 0.1) == []
        assert offers(engine.connected(0.5)) == [("t1", "helper.1", 2)]

    def test_a_passing_fault_of_the_hub_is_tried_again_after_a_moment(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.answered(("t1", 1), Refused(RequestRefused("backend_error", "")), 0.1) == []
        assert offers(engine.tick(0.1 + FULL_PAUSE)) == [("t1", "helper.1", 2)]

    @pytest.mark.parametrize(("task", "ending"), [("Once", WorkerLost), ("Safe", None)])
    def test_what_may_have_arrived_is_done_again_only_if_that_is_harmless(
        self, task: str, ending: type[Exception] | None
    ) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task=task), 0.0)
        assert engine.answered(("t1", 1), Unanswered(), 0.1) == []
        effects = engine.tick(0.1 + RETURN_SECONDS + PROBE_SECONDS)
        if ending is None:
            assert offers(effects) == [("t1", "helper.1", 2)]
        else:
            assert isinstance(error_of(effects), ending)

    def test_a_full_worker_is_left_alone_for_a_moment(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.receive("helper.1", TaskRefused("t1", 1, "full"), 0.1) == []
        assert offers(engine.tick(0.1 + FULL_PAUSE)) == [("t1", "helper.1", 2)]

    def test_a_draining_worker_is_not_tried_again(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, first, _)] = offers(engine.submit(order(), 0.0))
        [(_, second, _)] = offers(engine.receive(first, TaskRefused("t1", 1, "draining"), 0.1))
        assert second != first

    def test_a_task_that_its_worker_does_not_take_fails_with_the_reason(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        error = error_of(engine.receive("helper.1", TaskRefused("t1", 1, "unknown task 'Once'"), 0.1))
        assert isinstance(error, TaskFailed)
        assert "unknown task 'Once'" in str(error)


class TestLostWorkers:
    def test_an_idempotent_task_goes_to_another_worker_at_once(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, first, _)] = offers(engine.submit(order(task="Safe"), 0.0))
        effects = leave(engine, first, "lost", 1.0)
        assert any(isinstance(effect, Note) for effect in effects)
        [(_, second, attempt)] = offers(effects)
        assert (second != first, attempt) == (True, 2)

    def test_the_first_answer_counts_wherever_it_comes_from(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, first, _)] = offers(engine.submit(order(task="Safe"), 0.0))
        leave(engine, first, "lost", 1.0)
        assert ends(engine.receive(first, TaskResult("t1", Raw(b"1"), 1), 1.5)) == [Finished("t1", Raw(b"1"))]

    def test_any_other_task_ends_lost_unless_its_worker_speaks_again(self) -> None:
        engine = dispatcher(helper(1), helper(2))
        [(_, worker, _)] = offers(engine.submit(order(), 0.0))
        assert ends(leave(engine, worker, "lost", 1.0)) == []
        error = error_of(engine.tick(1.0 + LOST_GRACE))
        assert str(error) == (
            f"{worker} went away while it held Once (attempt 1); it was not done again elsewhere, for it is not "
            "known that doing it twice is harmless"
        )

    def test_a_worker_that_comes_back_and_speaks_keeps_its_task(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        leave(engine, "helper.1", "lost", 1.0)
        join(engine, helper(1), now=1.5)
        engine.receive("helper.1", TaskProgress("t1", 1), 1.6)
        assert ends(engine.tick(1.0 + LOST_GRACE)) == []
        assert ends(engine.receive("helper.1", TaskResult("t1", Raw(b"1"), 1), 30.0))

    def test_a_worker_started_anew_under_the_same_name_does_not_keep_it(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        leave(engine, "helper.1", "lost", 1.0)
        join(engine, helper(1), now=1.5)
        assert isinstance(error_of(engine.tick(1.0 + LOST_GRACE)), WorkerLost)

    def test_one_that_left_in_good_order_has_time_to_finish(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        leave(engine, "helper.1", "left", 1.0)
        assert ends(engine.tick(1.0 + LOST_GRACE)) == []
        assert isinstance(error_of(engine.tick(1.0 + DRAIN_GRACE)), WorkerLost)

    def test_after_a_reconnect_workers_have_time_to_come_back_too(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task="Safe"), 0.0)
        engine.disconnected()
        engine.connected(10.0)
        assert join(engine, whole=True, now=10.1) == []
        assert engine.submit(order("t2"), 10.2) == []
        effects = join(engine, helper(1), now=11.0)
        assert offers(effects) == [("t2", "helper.1", 1)]

    def test_while_disconnected_no_worker_is_taken_for_lost(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        leave(engine, "helper.1", "lost", 1.0)
        engine.disconnected()
        assert ends(engine.tick(20.0)) == []
        engine.connected(21.0)
        assert ends(engine.tick(21.0 + RETURN_SECONDS - 0.1)) == []
        assert isinstance(error_of(engine.tick(21.0 + RETURN_SECONDS)), WorkerLost)

    def test_after_a_reconnect_each_worker_is_asked_about_its_tasks(self) -> None:
        """An outcome that the hub had taken may have been lost with the connection."""
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        engine.disconnected()
        assert engine.connected(2.0) == [Send("helper.1", StreamAck("t1", -1), ("probe", "t1"))]

    def test_a_worker_on_the_roster_that_is_silent_is_asked_whether_it_still_knows_the_task(self) -> None:
        """The offer may have been lost with a connection of the worker's that it replaced unnoticed."""
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        assert engine.tick(PROBE_SECONDS) == [Send("helper.1", StreamAck("t1", -1), ("probe", "t1"))]

    def test_a_worker_that_came_back_between_an_offer_and_the_whole_roster_is_tried_again(self) -> None:
        engine = dispatcher(helper(1))
        engine.disconnected()
        engine.submit(order(), 1.0)
        assert offers(engine.connected(2.0)) == [("t1", "helper.1", 1)]
        engine.answered(("t1", 1), Accepted(0), 2.1)
        assert offers(join(engine, helper(1), whole=True, now=2.2)) == [("t1", "helper.1", 2)]

    def test_a_worker_that_says_it_knows_nothing_of_the_task_has_lost_it(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(), 0.0)
        error = error_of(engine.receive("helper.1", TaskError("t1", Failure(UNKNOWN_TASK, "?")), 1.0))
        assert isinstance(error, WorkerLost)


def chunk(seq: int, *, done: bool = False, error: Failure | None = None, of: str = "t1") -> CompletionChunk:
    return CompletionChunk(of, seq, Raw(b'""') if done else Raw(f'"{seq}"'.encode()), done, error)


class TestStreams:
    def test_chunks_come_in_order_and_the_last_ends_the_task(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        first = engine.receive("helper.1", chunk(0), 1.0)
        assert first == [Send("helper.1", StreamAck("t1", -1, many=True)), Chunked("t1", Raw(b'"0"'))]
        assert engine.receive("helper.1", chunk(1), 1.0) == [Chunked("t1", Raw(b'"1"'))]
        assert engine.receive("helper.1", chunk(2, done=True), 1.0) == [Finished("t1")]

    def test_after_the_first_chunk_nothing_is_done_again(self) -> None:
        engine = dispatcher(helper(1), helper(2), pool=Pool("helper", {"Tell": True}, CHANNEL))
        [(_, worker, _)] = offers(engine.submit(order(task="Tell"), 0.0))
        engine.receive(worker, chunk(0), 1.0)
        assert offers(leave(engine, worker, "lost", 2.0)) == []
        assert ends(engine.tick(2.0 + STREAM_GRACE - 0.1)) == []
        error = error_of(engine.tick(2.0 + STREAM_GRACE))
        assert isinstance(error, StreamBroken)
        assert error.received == (Raw(b'"0"'),)

    def test_a_failure_before_the_first_chunk_is_a_failed_task(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        error = error_of(engine.receive("helper.1", chunk(0, done=True, error=Failure("ValueError", "no")), 1.0))
        assert isinstance(error, TaskFailed)

    def test_a_failure_after_it_is_a_broken_stream_with_what_arrived(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        engine.receive("helper.1", chunk(0), 1.0)
        error = error_of(engine.receive("helper.1", chunk(1, done=True, error=Failure("ValueError", "no")), 1.0))
        assert str(error) == "the stream of Tell broke after 1 chunk: ValueError: no"

    def test_a_reconnect_asks_for_what_was_missed(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        engine.receive("helper.1", chunk(0), 1.0)
        engine.disconnected()
        assert Send("helper.1", StreamResume("t1", 1), ("probe", "t1")) in engine.connected(2.0)

    def test_an_idempotent_stream_whose_worker_has_forgotten_it_is_broken_and_not_done_again(self) -> None:
        engine = dispatcher(helper(1), helper(2), pool=Pool("helper", {"Tell": True}, CHANNEL))
        [(_, worker, _)] = offers(engine.submit(order(task="Tell"), 0.0))
        engine.receive(worker, chunk(0), 1.0)
        effects = engine.receive(worker, TaskError("t1", Failure(UNKNOWN_TASK, "?")), 2.0)
        assert offers(effects) == []
        error = error_of(effects)
        assert isinstance(error, StreamBroken)
        assert error.received == (Raw(b'"0"'),)

    def test_a_stream_that_stands_still_is_asked_about_whatever_else_its_worker_says(self) -> None:
        """What was said to the worker may have been lost, and it waits for just that."""
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        engine.receive("helper.1", chunk(0), 1.0)
        engine.receive("helper.1", TaskProgress("t1", 1), PROBE_SECONDS)
        said = [effect.payload for effect in engine.tick(2 * PROBE_SECONDS) if isinstance(effect, Send)]
        assert said == [StreamAck("t1", -1, many=True), StreamResume("t1", 1)]

    def test_a_failure_told_beside_the_stream_breaks_it_with_what_arrived(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        engine.receive("helper.1", chunk(0), 1.0)
        assert isinstance(error_of(engine.receive("helper.1", TaskError("t1", Failure("X", "no")), 2.0)), StreamBroken)

    def test_a_stream_of_which_nothing_arrived_is_asked_for_from_its_start_after_a_reconnect(self) -> None:
        engine = dispatcher(helper(1))
        engine.submit(Order("t1", "Tell", Raw(b"{}"), 60.0, streams=True), 0.0)
        engine.disconnected()
        assert Send("helper.1", StreamResume("t1", 0), ("probe", "t1")) in engine.connected(2.0)

    def test_a_worker_that_comes_back_hears_again_what_was_used_and_what_is_missing(self) -> None:
        """What was said to it while it was away is lost, and a writer out of credit waits for just that."""
        engine = dispatcher(helper(1))
        engine.submit(order(task="Tell"), 0.0)
        engine.receive("helper.1", chunk(0), 1.0)
        engine.disconnected()
        engine.consumed("t1")
        engine.connected(2.0)
        engine.probed("t1", Refused(PeerNotFound("peer_not_found", "")), 2.1)
        effects = engine.receive("helper.1", TaskProgress("t1", 1), 3.0)
        assert [effect.payload for effect in effects if isinstance(effect, Send)] == [
            StreamAck("t1", 0, many=True),
            StreamResume("t1", 1),
        ]


class TestSeveralAttempts:
    """The first worker lost its connection, so that an idempotent task went to the second, and both speak."""

    def begun(self) -> tuple[Dispatcher, str, str]:
        engine = dispatcher(helper(1), helper(2))
        [(_, first, _)] = offers(engine.submit(order(task="Safe"), 0.0))
        [(_, second, _)] = offers(leave(engine, first, "lost", 1.0))
        return engine, first, second

    def test_a_failure_of_the_earlier_one_says_nothing_of_the_later(self) -> None:
        engine, first, second = self.begun()
        assert ends(engine.receive(first, TaskError("t1", Failure("X", "no"), 1), 2.0)) == []
        assert ends(engine.receive(second, TaskResult("t1", Raw(b"1"), 2), 3.0)) == [Finished("t1", Raw(b"1"))]

    def test_a_success_of_either_one_stops_the_other(self) -> None:
        engine, first, second = self.begun()
        effects = engine.receive(first, TaskResult("t1", Raw(b"1"), 1), 2.0)
        assert effects == [Send(second, TaskCancel("t1")), Finished("t1", Raw(b"1"))]


class TestWhatWorkersSayOfATask:
    LEAD = Pool("lead", None, peers=("lead.1", "lead.2"), concurrency=9, direct=True)

    def test_one_that_is_harmless_to_repeat_goes_to_another_also_for_a_caller_from_outside(self) -> None:
        engine = dispatcher(pool=self.LEAD)
        engine.submit(order(), 0.0)
        engine.receive("lead.1", TaskAccepted("t1", 1, idempotent=True), 0.1)
        engine.probed("t1", Refused(PeerNotFound("peer_not_found", "")), 5.0)
        [again] = [effect for effect in engine.tick(5.0 + LOST_GRACE) if isinstance(effect, Send)]
        assert again.to == "lead.2"

    def test_one_that_a_worker_had_to_leave_at_its_end_goes_to_another(self) -> None:
        stopped = TaskError("t1", Failure("TaskCancelled", "the agent stopped", retryable=True), 1)
        engine = dispatcher(helper(1), helper(2))
        [(_, worker, _)] = offers(engine.submit(order(task="Safe"), 0.0))
        [(_, other, _)] = offers(engine.receive(worker, stopped, 1.0))
        assert other != worker
        engine = dispatcher(helper(1), helper(2))
        [(_, worker, _)] = offers(engine.submit(order(task="Once"), 0.0))
        assert isinstance(error_of(engine.receive(worker, stopped, 1.0)), TaskFailed)


class TestOffersThatWereLost:
    """A worker that knows nothing of a task either never got it, or has forgotten it."""

    def asked(self) -> Dispatcher:
        engine = dispatcher(helper(1))
        engine.submit(order(), 10.0)
        return engine

    @staticmethod
    def unknown(remembers: float | None) -> TaskError:
        return TaskError("t1", Failure(UNKNOWN_TASK, "?"), remembers=remembers)

    def test_one_that_knows_all_that_it_got_since_then_is_handed_it_again(self) -> None:
        engine = self.asked()
        engine.answered(("t1", 1), Unanswered(), 11.0)
        assert offers(engine.receive("helper.1", self.unknown(2.5), 12.0)) == [("t1", "helper.1", 2)]

    @pytest.mark.parametrize("remembers", [None, 0.0, 1.9])
    def test_one_that_may_have_forgotten_it_has_lost_it(self, remembers: float | None) -> None:
        engine = self.asked()
        engine.answered(("t1", 1), Unanswered(), 11.0)
        assert isinstance(error_of(engine.receive("helper.1", self.unknown(remembers), 12.0)), WorkerLost)

    def test_while_the_offer_may_still_be_on_its_way_nothing_is_concluded_in_its_favour(self) -> None:
        assert isinstance(error_of(self.asked().receive("helper.1", self.unknown(99.0), 12.0)), WorkerLost)


class TestChunksThatNameNoStream:
    LEAD = Pool("lead", None, peers=("lead",), concurrency=9, direct=True)

    def asked(self, *ids: str) -> Dispatcher:
        engine = dispatcher(pool=self.LEAD)
        for task_id in ids:
            engine.submit(Order(task_id, ASKED, Raw(b""), 60.0, streams=True, prompt="why?"), 0.0)
        engine.submit(order("no stream"), 0.0)
        return engine

    def test_they_are_those_of_the_only_stream(self) -> None:
        engine = self.asked("q1")
        assert engine.receive("lead", CompletionChunk(content=Raw(b'"a"')), 1.0) == [Chunked("q1", Raw(b'"a"'))]
        assert engine.receive("lead", CompletionChunk(content=Raw(b'"b"'), done=True), 1.0) == [
            Chunked("q1", Raw(b'"b"')),
            Finished("q1"),
        ]

    def test_of_several_streams_none_can_be_relied_on(self) -> None:
        engine = self.asked("q1", "q2")
        effects = engine.receive("lead", CompletionChunk(content=Raw(b'"a"')), 1.0)
        assert [end.id for end in ends(effects)] == ["q1", "q2"]
        assert {str(end.error) for end in ends(effects)} == {
            "ask failed at lead (attempt 1): StreamBroken: its chunks name no stream, and 2 of ours are under way there"
        }

    def test_without_a_stream_and_from_others_they_are_passed_over(self) -> None:
        assert self.asked().receive("lead", CompletionChunk(content=Raw(b'"a"')), 1.0) == []
        assert self.asked("q1").receive("stranger", CompletionChunk(content=Raw(b'"a"')), 1.0) == []


class TestWithoutARoster:
    USER = Pool("lead", None, peers=("lead.1", "lead.2"), concurrency=9, direct=True)

    def test_a_peer_that_refuses_a_question_is_passed_over(self) -> None:
        engine = dispatcher(pool=self.USER)
        engine.submit(Order("q1", ASKED, Raw(b""), 60.0, streams=True, prompt="why?"), 0.0)
        refusal = CompletionChunk("q1", 0, done=True, error=Failure("TaskRefused", "draining", retryable=True))
        assert engine.receive("lead.1", refusal, 0.1) == [Send("lead.2", Ask("why?", "q1", 2), ("q1", 2))]

    def test_right_after_a_connect_a_peer_that_is_not_found_may_still_come_back(self) -> None:
        engine = dispatcher(pool=self.USER)
        engine.submit(order(), 0.0)
        engine.disconnected()
        engine.connected(10.0)
        engine.probed("t1", Refused(PeerNotFound("peer_not_found", "")), 10.1)
        assert ends(engine.tick(10.0 + RETURN_SECONDS - 0.1)) == []
        engine.receive("lead.1", TaskProgress("t1", 1), 10.0 + RETURN_SECONDS - 0.1)
        assert ends(engine.tick(10.0 + RETURN_SECONDS)) == []

    def test_however_often_a_peer_was_full_its_silence_is_asked_about_once(self) -> None:
        engine = dispatcher(pool=Pool("lead", None, peers=("lead",), concurrency=9, direct=True))
        engine.submit(order(timeout=600.0), 0.0)
        for attempt in range(1, 9):
            now = attempt * FULL_PAUSE
            engine.receive("lead", TaskRefused("t1", attempt, "full"), now - FULL_PAUSE / 2)
            engine.tick(now + FULL_PAUSE / 2)
        assert len(engine.tick(100.0)) == 1
        assert len(engine.tick(200.0)) == 1

    def test_a_question_in_words_is_sent_to_one_peer(self) -> None:
        engine = dispatcher(pool=self.USER)
        asked = Order("q1", ASKED, Raw(b""), 60.0, streams=True, prompt="why?")
        assert engine.submit(asked, 0.0) == [Send("lead.1", Ask("why?", "q1", 1), ("q1", 1))]

    def test_a_peer_that_is_not_there_is_passed_over(self) -> None:
        engine = dispatcher(pool=self.USER)
        engine.submit(order(), 0.0)
        refusal = Refused(PeerNotFound("peer_not_found", ""))
        [effect] = engine.answered(("t1", 1), refusal, 0.1)
        assert isinstance(effect, Send)
        assert effect.to == "lead.2"
        assert isinstance(error_of(engine.answered(("t1", 2), refusal, 0.2)), NoWorkerAvailable)

    def test_a_silent_peer_is_asked_whether_it_still_knows_the_task(self) -> None:
        engine = dispatcher(pool=self.USER)
        engine.submit(order(), 0.0)
        assert engine.tick(PROBE_SECONDS) == [Send("lead.1", StreamAck("t1", -1), ("probe", "t1"))]

    def test_one_that_the_hub_no_longer_finds_is_lost_after_the_grace(self) -> None:
        engine = dispatcher(pool=self.USER)
        engine.submit(order(), 0.0)
        engine.probed("t1", Refused(PeerNotFound("peer_not_found", "")), 5.0)
        assert isinstance(error_of(engine.tick(5.0 + LOST_GRACE)), WorkerLost)
