"""What holds on every bad day for tasks and streams, as far as their callers can tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import (
    NoWorkerAvailable,
    StreamBroken,
    TaskCancelled,
    TaskTimeout,
    WorkerLost,
)
from orchestrator.patterns.jobs import ASKED
from orchestrator.testing.simulation_faults import FINDING_OUT, in_force

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.testing.simulation_faults import Schedule
    from orchestrator.testing.simulation_hub import World
    from orchestrator.testing.simulation_record import Call, Run

LATE: Final = 0.05
"""Seconds after its deadline at which a call may end at the latest."""
STALL: Final = 20.0
"""Seconds in which nobody works on a task although somebody could: more than any probe or grace takes."""
STOP: Final = 12.0
"""Seconds after its end in which whoever works on a task is told, if nothing is wrong: two signs of life, and a little."""


def tasks_hold(world: World, schedule: Schedule) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with how calls have ended: the invariant, and a sentence."""
    for call in world.record.calls.values():
        if call.finished is None:
            yield "each call ends", f"{call.named}, begun at {call.began:.3f} s, has not ended"
            continue
        if call.ended > call.began + max(call.order.timeout, 0.0) + LATE:
            late = call.ended - call.began
            yield (
                "each call ends",
                f"{call.named} ended {late:.3f} s after it began, and was to end in {call.order.timeout:g} s",
            )
        error = call.finished.error
        yield from _answered(world, call)
        if error is not None and not call.left:
            yield from _deserved(world, schedule, call)


def _answered(world: World, call: Call) -> Iterator[tuple[str, str]]:
    """See that what a caller was given is what a handler has said."""
    finished, runs = call.finished, world.record.runs.get((call.caller, call.id), [])
    assert finished is not None
    if call.order.streams or call.order.task == ASKED:
        error = finished.error
        possible = [run for run in runs if _begins(run, call.read)]
        if call.read and not possible:
            yield "streams are gapless", f"{call.named} was given {_shown(call.read)}, and handlers said {_all(runs)}"
        elif not call.read_out:
            return  # it has left meanwhile, and the rest of what had come was not read
        elif error is None and not any(run.complete and _text(run.said) == _text(call.read) for run in possible):
            yield (
                "streams are gapless",
                f"{call.named} ended whole with {_shown(call.read)}, and handlers said {_all(runs)}",
            )
        elif isinstance(error, StreamBroken):
            received = [bytes(chunk) for chunk in error.received]  # type: ignore[call-overload]
            if error.count != len(call.read) or received != call.read[error.first :]:
                told = f"StreamBroken tells of {error.count} chunks, {_shown(received)}"
                yield "streams are gapless", f"{call.named} was given {_shown(call.read)}, and its {told}"
        elif error is not None and call.read and not isinstance(error, TaskCancelled):
            kind = type(error).__name__
            yield (
                "streams are gapless",
                f"{call.named} broke after {len(call.read)} chunks with {kind} instead of StreamBroken",
            )
    elif finished.error is None and not any(run.said == [bytes(finished.result or b"null")] for run in runs):
        got = bytes(finished.result or b"null").decode("utf-8", "replace")
        yield "replies are true", f"{call.named} was given {got}, and handlers said {_all(runs)}"


def _deserved(world: World, schedule: Schedule, call: Call) -> Iterator[tuple[str, str]]:
    """See that a call failed for a reason: what nobody disturbs succeeds, and what may be done again is."""
    error = call.finished.error if call.finished else None
    if not isinstance(error, WorkerLost | NoWorkerAvailable | TaskTimeout | StreamBroken):
        return
    runs = world.record.runs.get((call.caller, call.id), [])
    if isinstance(error, StreamBroken) and any(run.ended is not None and not run.complete for run in runs):
        return  # its handler raised, or was stopped
    at_deadline = call.ended >= call.began + call.order.timeout - LATE
    worked = max((math.inf if run.ended is None else run.ended for run in runs), default=call.began)
    stalled = worked <= call.ended - STALL
    if at_deadline and not stalled:
        return  # it just takes its time
    why = f"{call.named} ended in {type(error).__name__} ({error})"
    workers = {run.peer for run in runs} | {getattr(error, "worker", None) or ""} - {""}
    concerned = (call.caller, *sorted(workers or world.plan_peers))
    since = call.ended - STALL if stalled else call.began - 1.0
    if not in_force(schedule, since, call.ended, *concerned):
        yield "what nobody disturbs succeeds", f"{why}, and nothing was wrong since {max(since, 0.0):.3f} s"
    elif call.idempotent and not isinstance(error, StreamBroken) and not in_force(schedule, *_life(call), call.caller):
        there = [peer for peer in _able(world, call) if _remained(world, schedule, call, peer, free=at_deadline)]
        if there:
            yield "what may be done again is", f"{why}, and {there[0]} was there all the time"


def _life(call: Call) -> tuple[float, float]:
    return call.began - 1.0, call.ended


def stopped(world: World, schedule: Schedule) -> Iterator[tuple[str, str]]:
    """See that nobody goes on for long with a task whose caller has had its end."""
    for key, runs in world.record.runs.items():
        call = world.record.calls.get(key)
        if call is None or call.finished is None:
            continue
        for run in runs:
            until = world.record.clock() if run.ended is None else run.ended
            since = max(call.ended, run.began)
            disturbed = in_force(schedule, since - 5.0, since + STOP, run.peer, call.caller)
            if until > since + STOP and run.peer in world.running and not disturbed:
                late = until - call.ended
                yield "what nobody wants stops", f"{run.peer} went on with {call.named} for {late:.3f} s after its end"


def _able(world: World, call: Call) -> list[str]:
    pools = world.planned(call.caller).pools if call.caller in world.plan_peers else ()
    return [
        peer
        for pool in pools
        if any(task.name == call.order.task for task in pool.tasks) and call.order.requires <= set(pool.capabilities)
        for peer in pool.peers
    ]


def _remained(world: World, schedule: Schedule, call: Call, peer: str, *, free: bool) -> bool:
    """Tell whether a worker was there all the time and, if that matters, `free` for the end of it."""
    if in_force(schedule, call.began - FINDING_OUT / 5, call.ended, peer):
        return False
    if not free:
        return True
    begun = [run for runs in world.record.runs.values() for run in runs if run.peer == peer]
    busy = sum(run.began <= call.ended and (run.ended is None or run.ended > call.ended - STALL) for run in begun)
    return busy < world.planned(peer).concurrency


# -- chunks


def _begins(run: Run, read: list[bytes]) -> bool:
    return run.said[: len(read)] == read or _text(run.said).startswith(_text(read))


def _text(chunks: list[bytes]) -> bytes:
    """Return chunks as one: neighbouring texts may have become one chunk on the way."""
    if chunks and all(chunk[:1] == b'"' for chunk in chunks):
        return b"".join(chunk[1:-1] for chunk in chunks if chunk != b'""')
    return b"\n".join(chunks)


def _shown(chunks: list[bytes]) -> str:
    few: Any = [chunk.decode("utf-8", "replace") for chunk in chunks[:8]]
    return f"[{', '.join(few)}{', …' if len(chunks) > 8 else ''}] ({len(chunks)})"


def _all(runs: list[Run]) -> str:
    return (
        "; ".join(f"{run.peer}: {_shown(run.said)}{'' if run.complete else ' unfinished'}" for run in runs) or "nothing"
    )
