"""`orchestrator tasks retry`, `cancel` and `purge`: what an operator does to tasks, each told in a line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchestrator.cli.progress import waiting
from orchestrator.cli.tasks_find import resolved
from orchestrator.cli.tasks_store import Source, opened
from orchestrator.cli.tasks_text import plain
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from orchestrator.store.opening import Store
    from orchestrator.store.tasks import Tasks


async def retry(args: argparse.Namespace) -> int:
    source = Source.of(args)
    async with opened(source) as store:
        if store is None:
            return _nothing(source, done=args.dead)
        if args.dead:
            return await _retry_all(source, store, args.queue)
        return await _retry_some(store.tasks, args.ids)


async def _retry_all(source: Source, store: Store, queue: str | None) -> int:
    if queue is not None:
        source.check_queue(queue, await store.tasks.stats())
    with waiting("retrying what is dead"):
        retried = await store.tasks.retry_dead(queue=queue)
    print(f"{counted(retried)} due again")
    return ExitCode.DONE


async def _retry_some(tasks: Tasks, words: Iterable[str]) -> int:
    """Retry those that are dead; each of the others is told."""
    from orchestrator.store.tasks import State

    code = ExitCode.DONE
    for task_id in await _all_resolved(tasks, words):
        outcome = await tasks.result(task_id)
        if outcome is not None and outcome.state is State.DEAD:
            await tasks.retry_dead([task_id])  # if somebody else was first, it is due again all the same
            print(f"{plain(task_id)} is due again")
        else:
            found = "not ended yet" if outcome is None else outcome.state
            print(f"orchestrator: {plain(task_id)} is {found}; only dead tasks are retried", file=sys.stderr)
            code = ExitCode.FAILED
    return code


async def cancel(args: argparse.Namespace) -> int:
    from orchestrator.store.tasks import State

    source = Source.of(args)
    async with opened(source) as store:
        if store is None:
            return _nothing(source, done=False)
        code = ExitCode.DONE
        for task_id in await _all_resolved(store.tasks, args.ids):
            state = await store.tasks.cancel(task_id)
            if state is State.CANCELLED:
                print(f"{plain(task_id)} is cancelled")
            else:
                print(f"orchestrator: {plain(task_id)} is {state} already, and stays so", file=sys.stderr)
                code = ExitCode.FAILED
        return code


async def purge(args: argparse.Namespace) -> int:
    from orchestrator.store.tasks import FINAL

    unended = [state for state in args.states if state not in FINAL]
    if unended:
        args.usage_error(f"only what has ended is purged: done, dead or cancelled, and not {unended[0]}")
    source = Source.of(args)
    async with opened(source) as store:
        if store is None:
            return _nothing(source, done=True)
        with waiting("purging"):
            purged = await store.tasks.purge(args.older, states=frozenset(args.states) or FINAL)
    print(f"{counted(purged)} forgotten")
    return ExitCode.DONE


async def _all_resolved(tasks: Tasks, words: Iterable[str]) -> list[str]:
    """Return the IDs that are meant, each once. Raises `NoSuchTask` before anything is done to the others."""
    return list(dict.fromkeys([await resolved(tasks, word) for word in words]))


def _nothing(source: Source, *, done: bool) -> int:
    print(source.none_yet(), file=sys.stderr)
    return ExitCode.DONE if done else ExitCode.FAILED


def counted(count: int) -> str:
    return "1 task is" if count == 1 else f"{count} tasks are"
