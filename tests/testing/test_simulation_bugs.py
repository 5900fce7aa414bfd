"""Tests of the tester: bugs that somebody could write into an engine, each of which a simulation finds before long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.client.driver import Driver
from orchestrator.client.subscriptions import Subscriptions
from orchestrator.patterns.claim import Claims
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.intake import Intake
from orchestrator.patterns.roster import Left, Roster
from orchestrator.patterns.state import SharedState
from orchestrator.patterns.stream import Piece, Reader, Writer
from orchestrator.patterns.versioned import VersionedMap
from orchestrator.protocol.payloads import HoldNotice, RejectNotice, StateDigest
from orchestrator.runtime.courier import Ticker
from orchestrator.runtime.guard import Guard
from orchestrator.store.memory import MemoryLeases
from orchestrator.testing.simulation import SimulationFailed
from tests.testing.simulation_scenes import Scenes

SEEDS = 200
"""Within which each of them has to be found."""

Bug = Callable[[pytest.MonkeyPatch], None]


def an_ack_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """Of the requests of a connection, the twentieth never hears of its answer."""
    settle = Driver._settle

    def dropped(self: Driver, request: str, *rest: Any) -> None:
        if request == "20":
            self._answers.pop(request, None)
        else:
            settle(self, request, *rest)

    patch.setattr(Driver, "_settle", dropped)


def a_subscription_is_lost_on_replay(patch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Subscriptions) -> None:
        disconnected(self)
        if len(self.wanted) > 1:
            self.wanted.popitem()

    disconnected = Subscriptions.disconnected
    patch.setattr(Subscriptions, "disconnected", forgetful)


def a_leave_is_announced_twice(patch: pytest.MonkeyPatch) -> None:
    update = Roster.update

    def twice(self: Roster, *args: Any, **named: Any) -> list[Any]:
        changes = update(self, *args, **named)
        return [*changes, *(change for change in changes if isinstance(change, Left))]

    patch.setattr(Roster, "update", twice)


def a_leave_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    update = Roster.update

    def deaf(self: Roster, joined: Any, left: Any, *args: Any, **named: Any) -> list[Any]:
        return update(self, joined, [], *args, **named)

    patch.setattr(Roster, "update", deaf)


def a_repeated_chunk_is_not_recognised(patch: pytest.MonkeyPatch) -> None:
    """The reader reads whatever comes, as if it came in order."""

    def receive(self: Reader, chunk: Any, now: float) -> list[Any]:
        self.started = True
        return [] if self._over else self._read(chunk)

    patch.setattr(Reader, "receive", receive)


def a_chunk_is_delivered_twice(patch: pytest.MonkeyPatch) -> None:
    """Only one that was not alone in filling a gap."""
    resume = Reader.resume

    def again(self: Reader, now: float) -> list[Any]:
        kept = [Piece(chunk.content) for chunk in list(self._ahead.values())[:1]]
        return [*kept, *resume(self, now)]

    patch.setattr(Reader, "resume", again)


def a_stream_resumes_from_the_wrong_chunk(patch: pytest.MonkeyPatch) -> None:
    rewind = Writer.rewind
    patch.setattr(Writer, "rewind", lambda self, seq: rewind(self, seq + 1))


def a_cancel_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    cancelled = Dispatcher._end

    def quiet(self: Dispatcher, job: Any, **named: Any) -> list[Any]:
        effects = cancelled(self, job, **{**named, "tell": False})
        self._unwanted.clear()
        return effects

    patch.setattr(Dispatcher, "_end", quiet)


def what_must_not_be_done_twice_is(patch: pytest.MonkeyPatch) -> None:
    lost = Dispatcher._lost

    def again(self: Dispatcher, job: Any, *rest: Any) -> list[Any]:
        job.idempotent = True
        return lost(self, job, *rest)

    patch.setattr(Dispatcher, "_lost", again)


def a_silent_worker_is_never_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dispatcher, "_inquire", lambda self, job, worker: [])


def an_attempt_is_never_made_again(patch: pytest.MonkeyPatch) -> None:
    """What may be done again is given up as if it might not."""
    patch.setattr(
        Dispatcher, "_again", lambda self, job, reason, now: self._lost(_once(job), job.seat.peer, reason, now)
    )


def _once(job: Any) -> Any:
    job.idempotent = False
    return job


def an_outcome_is_kept_for_ever(patch: pytest.MonkeyPatch) -> None:
    answered = Intake.answered

    def deaf(self: Intake, ref: tuple[str, ...], answer: Any, now: float) -> list[Any]:
        return answered(self, ref, answer, now) if ref[0] == "beat" else []

    patch.setattr(Intake, "answered", deaf)


def a_timer_is_left_behind(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ticker, "close", lambda self: None)


# -- teams


def a_fence_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """Every lease has the first one's."""
    acquire = MemoryLeases.acquire

    async def stuck(self: MemoryLeases, name: str, holder: str, ttl: float) -> Any:
        lease = await acquire(self, name, holder, ttl)
        return lease and replace(lease, fence=1)

    patch.setattr(MemoryLeases, "acquire", stuck)


def a_lost_lease_is_worked_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Guard, "lose", lambda self, error: None)


def a_holder_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    """Whoever says that it has an item is not heard."""
    receive = Claims.receive

    def deaf(self: Claims, sender: str, notice: Any, now: float) -> list[Any]:
        return [] if isinstance(notice, RejectNotice | HoldNotice) else receive(self, sender, notice, now)

    patch.setattr(Claims, "receive", deaf)


def a_digest_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    receive = SharedState.receive

    def deaf(self: SharedState, sender: str, told: Any, now: float) -> Any:
        return [] if isinstance(told, StateDigest) else receive(self, sender, told, now)

    patch.setattr(SharedState, "receive", deaf)


def the_first_write_stays(patch: pytest.MonkeyPatch) -> None:
    """Of others, a member takes only keys that it has never heard of."""
    merge = VersionedMap.merge

    def stubborn(self: VersionedMap, entry: Any, now: float) -> bool:
        known = self.known(entry.key)
        return (known is None or known.peer == entry.peer) and merge(self, entry, now)

    patch.setattr(VersionedMap, "merge", stubborn)


BUGS: dict[Bug, set[str]] = {
    an_ack_is_dropped: {"nothing is left over", "streams are gapless", "what nobody disturbs succeeds"},
    a_subscription_is_lost_on_replay: {"subscriptions last", "presence is true after quiet"},
    a_leave_is_announced_twice: {"presence is told once"},
    a_leave_is_passed_over: {"presence is true after quiet"},
    a_repeated_chunk_is_not_recognised: {"streams are gapless"},
    a_chunk_is_delivered_twice: {"streams are gapless"},
    a_stream_resumes_from_the_wrong_chunk: {"streams are gapless", "what nobody disturbs succeeds"},
    a_cancel_is_forgotten: {"what nobody wants stops"},
    what_must_not_be_done_twice_is: {"at-most-once tasks begin once"},
    a_silent_worker_is_never_asked: {"what nobody disturbs succeeds"},
    an_attempt_is_never_made_again: {"what may be done again is"},
    an_outcome_is_kept_for_ever: {"nothing is left over"},
    a_timer_is_left_behind: {"nothing is left over"},
    a_fence_is_ignored: {"fences grow"},
    a_lost_lease_is_worked_on: {"one strong holder at a time"},
    a_holder_is_passed_over: {"best-effort claims agree"},
    a_digest_is_passed_over: {"state converges", "nothing_written_is_lost"},
    the_first_write_stays: {"state converges"},
}
OF_TEAMS: dict[Bug, str] = {
    a_fence_is_ignored: "strong",
    a_lost_lease_is_worked_on: "strong",
    a_holder_is_passed_over: "best-effort",
    a_digest_is_passed_over: "best-effort",
    the_first_write_stays: "best-effort",
}
"""The scene in which they are looked for; the others are where there are tasks, streams and rosters."""


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(bug, marks=pytest.mark.bars if number % 3 else (), id=bug.__name__)
        for number, bug in enumerate(BUGS)
    ],
)
def test_a_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    simulation = Scenes(OF_TEAMS[bug]) if bug in OF_TEAMS else Scenes("newsroom", "renewing")
    with pytest.raises(SimulationFailed) as caught:
        for seed in range(SEEDS):
            simulation.run(seed, shrinks=False)
    assert caught.value.violation.invariant in BUGS[bug]
