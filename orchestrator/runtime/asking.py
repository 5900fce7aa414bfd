"""`--ask`: questions put to the agents of a run, one after the other, and their answers as they come."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from orchestrator.errors import ExitCode, OrchestratorError, did_you_mean, listed
from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.pinned import trusting
from orchestrator.topology.handlers import HandlerReport
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.runtime.output import Output
    from orchestrator.runtime.user import User
    from orchestrator.topology.handlers import HandlerFault
    from orchestrator.topology.plan import Plan, UserPlan


class UnknownAgent(OrchestratorError):
    """A question is for nobody in the topology."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(name, self.known)

    def __str__(self) -> str:
        hint = did_you_mean(self.name, self.known) or f"; there are {listed(self.known)}"
        return f"--ask: there is no agent {self.name!r} in this topology{hint}"


class CutOff(OrchestratorError):
    """The run was told to end before everything was asked."""

    def __init__(self, left: int) -> None:
        self.left = left
        super().__init__(left)

    def __str__(self) -> str:
        return (
            "1 question was not asked any more" if self.left == 1 else f"{self.left} questions were not asked any more"
        )


@dataclass(frozen=True, slots=True)
class Question:
    agent: str
    """An agent, of whose replicas one is chosen, or the peer id of one replica."""
    text: str


class TakesNoQuestions(OrchestratorError):
    """A question in words is for an agent that cannot tell which of its tasks it would be."""

    exit_code = ExitCode.USAGE

    def __init__(self, agent: str, tasks: Sequence[str]) -> None:
        self.agent, self.tasks = agent, tuple(tasks)
        super().__init__(agent, self.tasks)

    def __str__(self) -> str:
        takes = f"it takes {listed(self.tasks)}" if self.tasks else "it takes no tasks"
        return f"--ask: {self.agent!r} takes no question in words: {takes}, and one task has to need a prompt and nothing else"


def questions(
    plan: Plan,
    asks: Sequence[tuple[str, str]],
    reports: Mapping[str, HandlerReport | HandlerFault],
) -> tuple[Question, ...]:
    """Return who is asked what; `asks` pairs an agent, or one replica's peer id, with a text.

    Raises `UnknownAgent` for the first that is neither, `TakesNoQuestions` for one that could not answer.
    """
    user = plan.user(ASKER)
    replicas = {peer for peers in user.ask_peers.values() for peer in peers}
    for name, _ in asks:
        if name not in user.ask_peers and name not in replicas:
            raise UnknownAgent(name, [*user.ask_peers])
    for name, _ in asks:
        asked = next(replica for replica in plan.replicas if name in (replica.agent, replica.peer_id))
        report = None if asked.handler is None else reports.get(asked.handler)
        if isinstance(report, HandlerReport) and sum(task.takes_prompt for task in report.tasks) != 1:
            raise TakesNoQuestions(asked.agent, [task.name for task in report.tasks])
    return tuple(Question(name, text) for name, text in asks)


@dataclass(frozen=True, slots=True)
class Asker:
    """A user of one run: a peer id of its own, and tokens from the key that the run holds."""

    url: str
    user: UserPlan
    key: SecretKey
    output: Output
    trusted: str = ""
    """Path of the hub's certificate, where that is one of the run's own."""

    async def ask(self, asked: Sequence[Question], ending: Callable[[], bool]) -> None:
        """Put each question and write its answer as it comes. Raises what ends the first that fails.

        Once `ending` says that the run is about to end, no further question is put: `CutOff`.
        """
        from orchestrator.runtime.own_logs import route_structlog  # neither is loaded by a run that asks nothing
        from orchestrator.runtime.user import connect

        route_structlog(self.output)

        sub = secrets.token_hex(4)  # two runs against one hub are two users

        async def token() -> str:
            return mint(self.key, self.user.claims(sub, int(time.time() + self.user.token_ttl)))

        async with connect(self.url, token_provider=token, tls=trusting(self.trusted)) as user:
            for number, question in enumerate(asked):
                if ending():
                    raise CutOff(len(asked) - number)
                await self._one(user, question)

    async def _one(self, user: User, question: Question) -> None:
        clock = asyncio.get_running_loop().time
        began, first, count, ended = clock(), 0.0, 0, True
        async with aclosing(cast("Any", user.stream(question.agent, question.text))) as chunks:
            async for chunk in chunks:
                text = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False) + "\n"
                await asyncio.wrap_future(self.output.answer(text))
                first, count, ended = first or clock() - began, count + 1, text.endswith("\n") if text else ended
        if not ended:
            await asyncio.wrap_future(self.output.answer("\n"))
        chunks_said = f"{count:,} chunk{'' if count == 1 else 's'} over {clock() - began:.1f} s"
        since = f", the first after {first:.2f} s" if count else ""
        self.output.say("info", f"{question.agent} answered in {chunks_said}{since}")
