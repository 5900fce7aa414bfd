"""Tasks that a command puts into the store: they are done whoever waits for them."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.entering import complain, entered
from orchestrator.cli.peer_names import Usage
from orchestrator.cli.speaking import Speaking
from orchestrator.cli.tasks_store import Source, opened, remote
from orchestrator.errors import ConnectionProblem, TaskCancelled, TaskFailed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from orchestrator.cli.entering import Way
    from orchestrator.runtime.user import User
    from orchestrator.store.opening import Store
    from orchestrator.store.tasks import NewTask, Outcome

_LOOK: Final = 10.0
"""Seconds without a word of the task after which the store is asked about it: words may be lost, the store is not."""


async def keep(args: argparse.Namespace, found: Way, agent: str, task: str, payload: Any) -> None:
    """Put a task into the store, wake the workers, and with --wait print what comes of it.

    Raises the `DispatchError` that it ends with, and what keeps the store from taking it.
    """

    import asyncio

    speaking = Speaking()
    async with _store(found) as store, entered(found) as user, user.directs() as words:
        new = _new(found, agent, task, payload, user.peer_id)
        [stored] = await store.tasks.enqueue([new])
        await _wake(user, found, agent)
        if not args.wait:
            await speaking.write(f"{stored.id}\n")
            complain("it is in the store, and is done as soon as a worker is free")
            return
        complain(f"task {stored.id} is in the store")
        heard = asyncio.Event()
        listening = asyncio.create_task(_listen(words, stored.id, heard), name="words of a task")
        try:
            outcome = await _outcome(store, stored.id, heard)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        for line in _lines(task, outcome, streams=found.tasks.get(agent, {}).get(task, False)):
            await speaking.write(json.dumps(line, ensure_ascii=speaking.terminal) + "\n")


def _new(found: Way, agent: str, task: str, payload: Any, me: str) -> NewTask:
    from orchestrator.store.tasks import Backoff, NewTask
    from orchestrator.topology.references import ASKER

    kept = found.kept[agent]
    return NewTask(
        id=f"{int(time.time() * 1_000):012x}{secrets.token_hex(8)}",
        queue=agent,
        type=task,
        payload=json.dumps(payload, ensure_ascii=False).encode(),
        caller=ASKER,
        origin=me,
        timeout=kept.timeout,
        max_attempts=kept.max_attempts,
        backoff=Backoff(kept.delay, kept.max_delay),
    )


@asynccontextmanager
async def _store(found: Way) -> AsyncIterator[Store]:
    """Open the store of the run, or the one that the topology names. Raises `Usage` where neither is known."""
    from orchestrator.runtime.store_seat import running

    if found.topology is None:
        raise Usage("its tasks are kept in a store, which is reached through a run or a topology: name the file")
    if found.seat is not None:
        for seat in running(found.topology, os.environ):
            if seat.pid == found.seat.pid:
                store = remote(seat)
                await store.open()
                try:
                    yield store
                finally:
                    await store.close()
                return
    where = argparse.Namespace(store=None, file=found.topology, more=[], profiles=[], env_file=None, variables=[])
    async with opened(Source.of(where)) as there:
        if there is None:
            raise Usage(f"the store of {found.topology} is not there yet: it is made by the first run")
        yield there


async def _wake(user: User, found: Way, agent: str) -> None:
    """Tell the workers that there is something to do; whoever does not hear it looks by itself, a little later."""

    from orchestrator.protocol.names import inbox

    for peer in found.agents.get(agent, ()):
        with suppress(ConnectionProblem):
            await user.publish(inbox(peer), {"type": "wake"})


async def _listen(words: AsyncIterator[Any], task_id: str, heard: asyncio.Event) -> None:
    async for word in words:
        data = word.data if isinstance(word.data, dict) else {}
        about = str(data.get("taskId") or data.get("streamId") or "")
        if about.partition("/")[0] == task_id and (
            data.get("type") in ("task-result", "task-error") or data.get("done")
        ):
            heard.set()


async def _outcome(store: Store, task_id: str, heard: asyncio.Event) -> Outcome:
    """Return how a task ended, once it has."""

    import asyncio

    while (outcome := await store.tasks.result(task_id)) is None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await heard.wait()
        heard.clear()
    return outcome


def _lines(task: str, outcome: Outcome, *, streams: bool) -> list[Any]:
    """Return the reply, or all chunks. Raises how the task ended instead."""

    from orchestrator.store.tasks import State

    if outcome.state is State.CANCELLED:
        raise TaskCancelled(task, outcome.worker)
    if outcome.state is not State.DONE:
        failure = outcome.failure
        kind, message = ("TaskFailed", "it is dead") if failure is None else (failure.type, failure.message)
        raise TaskFailed(task, kind, message, outcome.worker or "nobody", outcome.attempt)
    result = json.loads(outcome.result or b"null")
    return result if streams and isinstance(result, list) else [result]
