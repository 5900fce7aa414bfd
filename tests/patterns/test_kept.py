"""Stored tasks as their coordinator follows them: messages may be lost, come twice or too late, and the store is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.errors import OrchestratorError, StreamBroken, TaskCancelled, TaskFailed, TaskTimeout
from orchestrator.patterns.effects import Publish, Send
from orchestrator.patterns.jobs import Chunked, Finished, Progressed
from orchestrator.patterns.kept import (
    LOOK_SECONDS,
    LOOKED_AT_ONCE,
    RELAY_SECONDS,
    SETTLED_SECONDS,
    Found,
    Kept,
    KeptTasks,
    Look,
)
from orchestrator.patterns.workforce import Pool, Workforce
from orchestrator.protocol.frames import Present
from orchestrator.protocol.payloads import (
    CompletionChunk,
    Failure,
    Load,
    StreamAck,
    StreamResume,
    TaskAccepted,
    TaskCancel,
    TaskError,
    TaskProgress,
    TaskResult,
    Wake,
)

GONE = OrchestratorError("it is not in the store")


def present(peer: str, capabilities: Iterable[str] = ()) -> Present:
    return Present(peer, {"kind": "agent", "agent": "worker", "capabilities": list(capabilities)})


def engine(*peers: str, concurrency: int = 1, capabilities: dict[str, list[str]] | None = None) -> KeptTasks:
    able = capabilities or {}
    pool = Pool("worker", {"Work": False, "Lines": False}, "pools/worker", peers, concurrency)
    tasks = KeptTasks(Workforce([pool]))
    tasks.workforce.present("pools/worker", [present(peer, able.get(peer, ())) for peer in peers], [], whole=True)
    return tasks


def work(number: int = 1, **more: Any) -> Kept:
    return Kept(f"t{number}", "Work", "worker", **more)


def woken(effects: Iterable[object]) -> list[str]:
    return [effect.channel for effect in effects if isinstance(effect, Publish) and isinstance(effect.payload, Wake)]


def test_one_worker_is_woken_for_each_task_the_idle_first() -> None:
    tasks = engine("w.1", "w.2", "w.3", concurrency=2)
    assert woken(tasks.stored([work(1)], 0.0)) == ["tasks/w.1"]
    tasks.receive("w.1", TaskAccepted("t1", 1, Load(2, 2)), 0.1)
    assert woken(tasks.stored([work(2), work(3)], 0.2)) == ["tasks/w.2", "tasks/w.3"]
    assert len(woken(tasks.stored([work(number) for number in range(4, 20)], 0.3))) == 3


def test_only_those_are_woken_who_are_able() -> None:
    tasks = engine("w.1", "w.2", capabilities={"w.2": ["web"]})
    assert woken(tasks.stored([work(1, requires=frozenset({"web"}))], 0.0)) == ["tasks/w.2"]
    assert woken(tasks.stored([work(2, requires=frozenset({"gpu"}))], 0.0)) == []


def test_everybody_is_woken_when_nobody_takes_it() -> None:
    tasks = engine("w.1", "w.2", "w.3")
    tasks.stored([work()], 0.0)
    assert tasks.next_tick() == RELAY_SECONDS
    assert woken(tasks.tick(RELAY_SECONDS)) == ["tasks/w.2", "tasks/w.3"]
    assert woken(tasks.tick(2 * RELAY_SECONDS)) == [], "and then it is left to those who look by themselves"


def test_nobody_else_is_woken_for_what_was_taken() -> None:
    tasks = engine("w.1", "w.2")
    tasks.stored([work()], 0.0)
    tasks.receive("w.1", TaskAccepted("t1", 1, Load(1, 1)), 0.01)
    assert woken(tasks.tick(RELAY_SECONDS)) == []


def test_a_result_ends_it_once() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    assert tasks.receive("w.1", TaskResult("t1", Raw(b"2"), 1), 1.0) == [Finished("t1", Raw(b"2"))]
    assert tasks.receive("w.1", TaskResult("t1", Raw(b"2"), 1), 1.0) == []
    assert len(tasks) == 0


def test_a_result_of_somebody_else_s_is_none() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    assert tasks.receive("mallory", TaskResult("t1", Raw(b"666"), 1), 1.0) is None
    assert "t1" in tasks


def test_a_failure_is_looked_up_in_the_store() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    assert tasks.receive("w.1", TaskError("t1", Failure("ValueError", "no"), 1), 1.0) == [Look(("t1",))]
    error = TaskFailed("Work", "ValueError", "no", "w.1", 5)
    assert tasks.looked(["t1"], {"t1": Found(error=error)}, GONE, 1.1) == [Finished("t1", error=error)]


def test_a_task_of_which_nothing_is_heard_is_looked_up_again_and_again() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    for turn in (1, 2, 3):
        assert Look(("t1",)) in tasks.tick(turn * LOOK_SECONDS)
        assert tasks.looked(["t1"], {"t1": Found()}, GONE, turn * LOOK_SECONDS) == []
    progress = tasks.receive("w.1", TaskProgress("t1", 1, 0.5, "half"), 3 * LOOK_SECONDS + 9)
    assert progress == [Progressed("t1", "w.1", 0.5, "half")]
    assert tasks.tick(4 * LOOK_SECONDS) == [], "a sign of life is as good as a look"


def test_what_is_not_in_the_store_ends_with_that() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    assert tasks.looked(["t1"], {}, GONE, 1.0) == [Finished("t1", error=GONE)]


def test_many_are_looked_up_in_pages() -> None:
    tasks = engine("w.1")
    tasks.stored([work(number) for number in range(600)], 0.0)
    looks = [effect for effect in tasks.connected(1.0) if isinstance(effect, Look)]
    assert [len(look.ids) for look in looks] == [LOOKED_AT_ONCE, LOOKED_AT_ONCE, 600 - 2 * LOOKED_AT_ONCE]


def test_while_the_hub_is_away_nobody_is_woken_and_all_are_when_it_is_back() -> None:
    tasks = engine("w.1")
    tasks.disconnected()
    assert tasks.stored([work()], 0.0) == []
    tasks.workforce.present("pools/worker", [present("w.1")], [], whole=True)
    effects = tasks.connected(5.0)
    assert Look(("t1",)) in effects
    assert woken(effects) == ["tasks/w.1"]


def test_whoever_waits_no_longer_is_told_how_far_it_was() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    tasks.receive("w.1", TaskAccepted("t1", 1, Load(1, 1)), 0.1)
    error = tasks.too_late("Work", "t1", 5.0)
    assert isinstance(error, TaskTimeout)
    assert (error.worker, "t1" in tasks) == ("w.1", True), "others may be more patient"


def test_what_a_worker_had_is_looked_up_when_it_goes_and_again_when_it_comes() -> None:
    tasks = engine("w.1", "w.2")
    tasks.stored([work()], 0.0)
    tasks.receive("w.1", TaskAccepted("t1", 1, Load(1, 1)), 0.1)
    gone = tasks.workforce.present("pools/worker", [], [present("w.1")], whole=False)
    assert tasks.presence(gone, 1.0) == [Look(("t1",))]
    assert tasks.tick(1.0 + SETTLED_SECONDS) == [Look(("t1",))]
    back = tasks.workforce.present("pools/worker", [present("w.1")], [], whole=False)
    assert tasks.presence(back, 4.0) == [Look(("t1",))]


def test_of_what_nobody_waits_for_the_worker_is_told_to_send_no_more() -> None:
    tasks = engine("w.1")
    assert tasks.receive("w.1", TaskResult("old", Raw(b"2"), 1), 1.0) == []
    assert tasks.receive("w.1", CompletionChunk("old/1", 7, Raw(b'"x"')), 1.0) == [Send("w.1", TaskCancel("old"))]
    assert tasks.receive("w.1", CompletionChunk("old/1", 8, Raw(b'"x"')), 1.0) == [], "once is enough"


def test_a_cancelled_task_s_worker_hears_of_it() -> None:
    tasks = engine("w.1")
    tasks.stored([work()], 0.0)
    tasks.receive("w.1", TaskAccepted("t1", 1, Load(1, 1)), 0.1)
    told, finished = tasks.cancelled("t1")
    assert told == Send("w.1", TaskCancel("t1"))
    assert isinstance(finished, Finished)
    assert isinstance(finished.error, TaskCancelled)


def lines() -> KeptTasks:
    tasks = engine("w.1", "w.2")
    tasks.stored([Kept("t1", "Lines", "worker", streams=True)], 0.0)
    return tasks


def chunk(attempt: int, seq: int, text: str = "x", **more: Any) -> CompletionChunk:
    return CompletionChunk(f"t1/{attempt}", seq, Raw(f'"{text}"'.encode()), **more)


def contents(effects: Iterable[object] | None) -> list[bytes]:
    return [bytes(effect.content) for effect in effects or () if isinstance(effect, Chunked)]


def test_a_stream_is_read_as_it_comes() -> None:
    tasks = lines()
    first = tasks.receive("w.1", chunk(1, 0, "a"), 0.1)
    assert contents(first) == [b'"a"']
    assert Send("w.1", StreamAck("t1/1", -1, many=True)) in (first or [])
    assert contents(tasks.receive("w.1", chunk(1, 1, "b"), 0.2)) == [b'"b"']
    assert tasks.receive("w.1", CompletionChunk("t1/1", 2, done=True), 0.3) == [Finished("t1")]


def test_chunks_that_are_missing_at_its_end_come_from_the_store() -> None:
    tasks = lines()
    tasks.receive("w.1", chunk(1, 0, "a"), 0.1)
    effects = tasks.looked(["t1"], {"t1": Found(Raw(b'["a","b","c"]'), None, 1)}, GONE, 9.0)
    assert contents(effects) == [b'"b"', b'"c"']
    assert effects[-1] == Finished("t1")


ANEW: list[Callable[[KeptTasks], Sequence[object] | None]] = [
    lambda tasks: tasks.receive("w.2", chunk(2, 1, "B"), 0.3),
    lambda tasks: tasks.receive("w.2", TaskAccepted("t1", 2), 0.3),
    lambda tasks: tasks.looked(["t1"], {"t1": Found(Raw(b'["A","B"]'), None, 2)}, GONE, 9.0),
]


def test_the_chunks_of_another_attempt_are_no_continuation() -> None:
    for begun_anew in ANEW:
        tasks = lines()
        tasks.receive("w.1", TaskAccepted("t1", 1), 0.05)
        tasks.receive("w.1", chunk(1, 0, "a"), 0.1)
        (finished,) = begun_anew(tasks) or ()
        assert isinstance(finished, Finished)
        assert isinstance(finished.error, StreamBroken)
        assert [bytes(piece) for piece in finished.error.received] == [b'"a"']  # type: ignore[call-overload]


def test_an_attempt_that_failed_before_its_first_chunk_leaves_no_trace() -> None:
    tasks = lines()
    failed = CompletionChunk("t1/1", 0, done=True, error=Failure("ValueError", "torn"))
    assert tasks.receive("w.1", failed, 0.1) == [Look(("t1",))]
    assert contents(tasks.receive("w.2", chunk(2, 0, "A"), 0.3)) == [b'"A"']
    assert tasks.receive("w.1", chunk(1, 0, "late"), 0.4) == []


def test_after_a_cut_the_reader_asks_for_what_it_missed() -> None:
    tasks = lines()
    tasks.receive("w.1", chunk(1, 0, "a"), 0.1)
    assert Send("w.1", StreamResume("t1/1", 1)) in tasks.connected(5.0)


def test_whoever_leaves_a_stream_says_so() -> None:
    tasks = lines()
    tasks.receive("w.1", chunk(1, 0, "a"), 0.1)
    assert tasks.left("t1") == [Send("w.1", TaskCancel("t1"))]
    assert len(tasks) == 0


@pytest.mark.parametrize("stream_id", ["", "t1", "t1/", "t1/x", "t1/99999999999999999999", "t1/1/2", "/1"])
def test_a_stream_of_any_name_does_no_harm(stream_id: str) -> None:
    tasks = lines()
    tasks.receive("w.1", CompletionChunk(stream_id, 0, Raw(b'"?"')), 0.1)
    assert len(tasks) == 1


HINTS = st.sampled_from(["accepted", "progress", "result", "error", "join", "leave", "cut", "back", "look"])


@given(st.lists(st.tuples(HINTS, st.integers(1, 3), st.sampled_from(["w.1", "w.2"])), max_size=60))
def test_whatever_is_heard_each_task_ends_once_and_as_the_store_says(steps: list[tuple[str, int, str]]) -> None:
    """The store has ended all three before the first word is heard, the first with a result, the others with an error."""
    tasks = engine("w.1", "w.2")
    truth = {"t1": Found(Raw(b"1"))} | {
        f"t{number}": Found(error=TaskFailed("Work", "E", "no", "w.1", 1)) for number in (2, 3)
    }
    seen: list[Finished] = []
    asked: list[tuple[str, ...]] = []

    def take(effects: Iterable[object] | None) -> None:
        for effect in effects or ():
            if isinstance(effect, Finished):
                seen.append(effect)
            elif isinstance(effect, Look):
                asked.append(effect.ids)

    now = 0.0
    take(tasks.stored([work(number) for number in (1, 2, 3)], now))
    for hint, number, peer in steps:
        now += 0.4
        task_id = f"t{number}"
        match hint:
            case "accepted":
                take(tasks.receive(peer, TaskAccepted(task_id, 1, Load(1, 1)), now))
            case "progress":
                take(tasks.receive(peer, TaskProgress(task_id, 1), now))
            case "result" if number == 1:
                take(tasks.receive(peer, TaskResult(task_id, Raw(b"1"), 1), now))
            case "error" if number != 1:
                take(tasks.receive(peer, TaskError(task_id, Failure("E", "no"), 1), now))
            case "join":
                take(tasks.presence(tasks.workforce.present("pools/worker", [present(peer)], [], whole=False), now))
            case "leave":
                take(tasks.presence(tasks.workforce.present("pools/worker", [], [present(peer)], whole=False), now))
            case "cut":
                tasks.disconnected()
            case "back":
                take(tasks.connected(now))
            case "look" if asked:
                ids = asked.pop(0)
                take(tasks.looked(ids, {one: truth[one] for one in ids}, GONE, now))
        take(tasks.tick(now))
    for _ in range(3):
        now += LOOK_SECONDS + 1
        take(tasks.tick(now))
        while asked:
            ids = asked.pop(0)
            take(tasks.looked(ids, {one: truth[one] for one in ids}, GONE, now))
    assert sorted(finished.id for finished in seen) == ["t1", "t2", "t3"]
    for finished in seen:
        assert (finished.result is not None) == (finished.id == "t1")
    assert all(not seat.outstanding for seat in tasks.workforce.seats.values())
