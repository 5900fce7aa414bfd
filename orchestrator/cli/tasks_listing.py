"""`orchestrator tasks` and `orchestrator tasks show`: what is in the store, and nothing in it is changed."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from orchestrator.cli import tasks_json
from orchestrator.cli.tasks import SHOWN
from orchestrator.cli.tasks_find import every, resolved
from orchestrator.cli.tasks_store import Source, opened
from orchestrator.cli.tasks_text import history, matching, table, totals
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

    from orchestrator.store.tasks import QueueStats, State, TaskInfo


async def listing(args: argparse.Namespace) -> int:
    source = Source.of(args)
    async with opened(source) as store:
        if store is None:
            print(source.none_yet(), file=sys.stderr)
            return ExitCode.DONE
        stats = await store.tasks.stats()
        source.check_queue(args.queue, stats)
        if args.json:
            async for info in every(store.tasks, states=args.states, queue=args.queue, limit=args.limit):
                print(tasks_json.line(tasks_json.task(info)))
            return ExitCode.DONE
        infos = [
            info async for info in every(store.tasks, states=args.states, queue=args.queue, limit=args.limit or SHOWN)
        ]
    print("\n".join(shown(infos, stats, args.states, args.queue, time.time(), width())))
    return ExitCode.DONE


def shown(
    infos: Sequence[TaskInfo],
    stats: Sequence[QueueStats],
    states: Collection[State],
    queue: str | None,
    now: float,
    width: int | None,
) -> list[str]:
    """Show a listing: the tasks, whether there are more of them, and how many are in each state."""
    more = matching(stats, states, queue) - len(infos)
    return [
        *table(infos, now, width),
        *([f"… and {more} more (--limit {more + len(infos)})"] if more > 0 else []),
        totals(stats, queue),
    ]


def width() -> int | None:
    """Return how many columns a line may have; `None` = as many as it takes, for it is not written to a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


async def show(args: argparse.Namespace) -> int:
    source = Source.of(args)
    async with opened(source) as store:
        if store is None:
            print(source.none_yet(), file=sys.stderr)
            return ExitCode.FAILED
        found = await store.tasks.get(await resolved(store.tasks, args.ids[0]))
    if args.json:
        print(tasks_json.line(tasks_json.history(found)))
    else:
        print("\n".join(history(found, time.time())))
    return ExitCode.DONE
