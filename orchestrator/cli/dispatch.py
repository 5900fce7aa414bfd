"""`orchestrator dispatch`: a task by its name, for a worker of an agent, or for the store where the agent's tasks are kept."""

from __future__ import annotations

import argparse
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from orchestrator.cli.entering import (
    Away,
    Overdue,
    check_agent,
    complain,
    entered,
    entering_arguments,
    seconds,
    talk,
    traced,
    way,
    words_of,
)
from orchestrator.cli.example_text import examples
from orchestrator.cli.peer_names import Usage
from orchestrator.errors import ExitCode, NoWorkerAvailable, TaskTimeout, did_you_mean, listed

if TYPE_CHECKING:
    from orchestrator.cli.entering import Way


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "orchestrator dispatch [FILE] AGENT TASK JSON|- [--wait] [--timeout TIME] [--hub URL [--token-file FILE]]"
    )
    parser.description = (
        "Hands an agent a task. Without --wait it prints the task's id and ends as soon as a worker has taken it: a task "
        "that takes longer than half a minute from then on is cancelled, since nobody hears of it. What an agent keeps in "
        "the store ('delivery: at-least-once') is put into it, and is done whoever waits."
    )
    parser.add_argument(
        "words", nargs="*", default=[], metavar="WORD", help="AGENT, TASK and JSON; - reads it from stdin"
    )
    parser.add_argument("--wait", action="store_true", help="wait for the result, and print it, or each chunk, as JSON")
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="for all of it, such as 30 or 2m")
    entering_arguments(parser)
    examples(
        parser,
        """orchestrator dispatch lead Review '{"prompt": "json"}' --wait""",
        """echo '{"prompt": "json"}' | orchestrator dispatch lead Review - --wait --timeout 30""",
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from orchestrator.cli.json_words import read_json

    file, (agent, task, word) = words_of(args, ("AGENT", "TASK", "JSON"))
    payload = read_json(args, word, "the payload")
    found = way(args, file, agent)
    _check_task(found, agent, task)
    return talk(_dispatch(args, found, agent, task, payload))


def _check_task(found: Way, agent: str, task: str) -> None:
    """Raises `Usage` for a task that the agent is known not to take."""
    takes = found.tasks.get(agent.partition(".")[0])
    if takes is not None and task not in takes:
        from orchestrator.cli.tasks_text import plain

        hint = did_you_mean(task, takes) or (f"; it takes {listed(takes)}" if takes else ": it takes none")
        raise Usage(f"{agent!r} takes no task {plain(task)!r}{hint}")


async def _dispatch(args: argparse.Namespace, found: Way, agent: str, task: str, payload: Any) -> int:
    import asyncio

    try:
        async with traced(found), asyncio.timeout(args.timeout):
            if agent in found.kept:
                from orchestrator.cli.dispatch_kept import keep

                await keep(args, found, agent, task, payload)
            else:
                await _hand(args, found, agent, task, payload)
    except (TimeoutError, TaskTimeout):
        raise Overdue(f"{task} did not end within {args.timeout:g} s") from None
    except NoWorkerAvailable:
        raise Away(f"nobody of {agent!r} is online who could take {task}") from None
    return ExitCode.DONE


async def _hand(args: argparse.Namespace, found: Way, agent: str, task: str, payload: Any) -> None:
    from msgspec import Raw

    from orchestrator.cli.speaking import Speaking
    from orchestrator.runtime.questions import ASK_TIMEOUT

    speaking = Speaking()
    streams = found.tasks.get(agent.partition(".")[0], {}).get(task, True)  # a plain task may be asked for as a stream
    data = Raw(json.dumps(payload, ensure_ascii=False).encode())
    async with entered(found) as user:
        check_agent(agent, user)
        handed = user.hand(agent, task, data, streams=streams, timeout=args.timeout or ASK_TIMEOUT)
        if not args.wait:
            peer = await handed.taken()
            await speaking.write(f"{handed.id}\n")
            complain(f"{peer} has taken it")
            return
        async with aclosing(cast("Any", handed.chunks())) as chunks:
            async for chunk in chunks:
                await speaking.write(json.dumps(chunk, ensure_ascii=speaking.terminal) + "\n")
