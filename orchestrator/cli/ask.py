"""`orchestrator ask`: one question in words, whose answer is written as it comes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from orchestrator.cli.entering import (
    Away,
    Overdue,
    check_agent,
    complain,
    entered,
    entering_arguments,
    sayable,
    seconds,
    talk,
    traced,
    way,
    words_of,
)
from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode, NoWorkerAvailable, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.cli.entering import Way
    from orchestrator.cli.speaking import Speaking


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator ask [FILE] AGENT TEXT|- [--json] [--timeout TIME] [--hub URL [--token-file FILE]]"
    parser.description = (
        "Asks an agent of a run, or one of its replicas, in words. The answer comes on standard output while it is made, "
        "everything else on standard error. Ctrl-c cancels it at the agent."
    )
    parser.add_argument("words", nargs="*", default=[], metavar="WORD", help="AGENT and TEXT; - reads it from stdin")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each chunk, and a last one with the outcome"
    )
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="for the whole answer, such as 30 or 2m")
    entering_arguments(parser)
    examples(
        parser,
        'orchestrator ask lead "asyncio"',
        'orchestrator ask lead "json" --json --timeout 60',
        "echo json | orchestrator ask lead -",
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from orchestrator.runtime.wishes import check_text

    file, (agent, text) = words_of(args, ("AGENT", "TEXT"))
    if text == "-":
        text = read_input(args, "the question")
    with sayable():
        check_text(text)
    found = way(args, file, agent)
    return talk(_ask(args, found, agent, text))


def read_input(args: argparse.Namespace, what: str) -> str:
    """Return all of standard input."""
    if args.token_file == "-":
        args.usage_error(f"the token and {what} cannot both come from standard input")
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        return args.usage_error(f"{what} is no UTF-8: byte {error.start} of standard input")  # type: ignore[no-any-return]


async def _ask(args: argparse.Namespace, found: Way, agent: str, text: str) -> int:
    import asyncio

    from orchestrator.cli.speaking import Speaking
    from orchestrator.runtime.questions import ASK_TIMEOUT

    answer = _Answer(agent, Speaking(), as_json=args.json)
    try:
        async with traced(found), asyncio.timeout(args.timeout), entered(found) as user:
            check_agent(agent, user)
            chunks = user.stream(agent, text, timeout=args.timeout or ASK_TIMEOUT)
            async with aclosing(cast("Any", chunks)) as coming:
                async for chunk in coming:
                    await answer.chunk(chunk)
        await answer.over("done")
    except TimeoutError:
        late = Overdue(f"{agent} had not answered within {args.timeout:g} s, and was told to stop")
        await answer.over("timed out", late)
        raise late from None
    except NoWorkerAvailable:
        away = Away(f"nobody of {agent!r} is online")
        await answer.over("failed", away)
        raise away from None
    except BrokenPipeError:
        raise
    except (OrchestratorError, ValueError) as error:
        await answer.over("failed", error)
        raise
    except asyncio.CancelledError:
        await answer.over("cancelled")
        raise
    return ExitCode.DONE


class _Answer:
    """Writes an answer, and says at its end what became of it."""

    def __init__(self, agent: str, speaking: Speaking, *, as_json: bool) -> None:
        self._agent, self._speaking, self._as_json = agent, speaking, as_json
        self._began, self._first, self._count = time.monotonic(), 0.0, 0
        self._line_ended = True

    async def chunk(self, chunk: Any) -> None:
        self._first = self._first or time.monotonic() - self._began
        number, self._count = self._count, self._count + 1
        if self._as_json:
            await self._line({"chunk": chunk, "seq": number})
            return
        text = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False) + "\n"
        await self._speaking.text(text)
        self._line_ended = text.endswith("\n") if text else self._line_ended

    async def over(self, outcome: str, error: Exception | None = None) -> None:
        took = time.monotonic() - self._began
        if self._as_json:
            more = {} if error is None else {"error": {"type": type(error).__name__, "message": str(error)}}
            told = {"outcome": outcome, "agent": self._agent, "chunks": self._count, "seconds": round(took, 3)}
            await self._line(told | more)
            return
        if not self._line_ended:
            await self._speaking.write("\n")
        if outcome == "done":
            chunks = f"{self._count:,} chunk{'' if self._count == 1 else 's'} over {took:.1f} s"
            since = f", the first after {self._first:.2f} s" if self._count else ""
            complain(f"{self._agent} answered in {chunks}{since}")

    async def _line(self, told: dict[str, Any]) -> None:
        # A terminal obeys characters that JSON lets pass as they are.
        await self._speaking.write(json.dumps(told, ensure_ascii=self._speaking.terminal) + "\n")
