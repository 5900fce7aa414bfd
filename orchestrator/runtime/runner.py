"""One run of one plan: the loop that hands every fact to those who decide, and does what they decide.

Children, timers and signals only report facts; nothing is decided anywhere else.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.protocol.limits import MIN_SECRET_BYTES
from orchestrator.protocol.tokens import SecretKey
from orchestrator.runtime import supervisor as s
from orchestrator.runtime.arrivals import Arrivals, Blind, PatienceOver, Seen
from orchestrator.runtime.asking import Asker
from orchestrator.runtime.control import Online, Ready, Tally
from orchestrator.runtime.listening import listen, url_of
from orchestrator.runtime.lives import HUB_NAME, STORE_NAME, Heard, Lives, Programs, Seat
from orchestrator.runtime.readiness import Readiness, Standing
from orchestrator.runtime.store_seat import seated
from orchestrator.runtime.summary import counted, ready_line, summary
from orchestrator.topology.references import ASKER
from orchestrator.topology.replica import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from orchestrator.runtime.arrivals import Arrival
    from orchestrator.runtime.asking import Question
    from orchestrator.runtime.idling import Idling
    from orchestrator.runtime.output import Output
    from orchestrator.topology.plan import Plan

SERVER_RESTART: Final = RestartPolicy("always", delay=0.2, max_delay=5.0, max_attempts=10, window=60.0)
LEAST_GRACE: Final = 1.0
"""Seconds that an agent has to end, however long those before it took."""
HUB_GRACE: Final = 3.0
"""Seconds that the hub and the store have at most to end, once the agents have had theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is told besides its plan."""

    log_level: str = "info"
    grace: float = 10.0
    """Seconds between the wish to end and the kill."""
    timeout: float | None = None
    """Seconds in which all questions must be answered and, with `until_idle`, all tasks done, the wait for readiness
    included; `None` = no limit."""
    until_idle: bool = False
    """End once no task is open in the store, after the questions; only for a plan that has a store."""
    programs: Programs = field(default_factory=Programs)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A signal asked the run to end."""

    number: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The questions are over, and no task is waited for any more; `code` is their outcome."""

    code: int


Facts: TypeAlias = "asyncio.Queue[s.Fact | Heard | Arrival | Interrupted | Answered]"


def fresh_key() -> SecretKey:
    """Return a key for one run, known to its parent and its hub alone."""
    return SecretKey(f"sk_id_{secrets.token_hex(8)}", f"sk_secret_{secrets.token_urlsafe(2 * MIN_SECRET_BYTES)}")


async def run(
    plan: Plan,
    output: Output,
    options: Options,
    environ: Mapping[str, str],
    questions: Sequence[Question] = (),
) -> int:
    """Run a plan until everything has ended, and return the exit code of the whole.

    `environ` is what its processes inherit from. With `questions`, it ends when they are answered. Raises
    `CannotListen` or `NoPlace` before anything is started.
    """
    key = plan.hub.key or fresh_key()
    with ExitStack() as stack:
        store = None if plan.store is None else stack.enter_context(seated(plan.source, environ))
        if plan.hub.url is not None:
            seat = Seat(plan.hub.url, None, key, store)
        else:
            listening = stack.enter_context(listen(plan.hub.host, plan.hub.port))
            # Our own agents have no message budget; users keep the protocol's.
            seat = Seat(url_of(listening), listening, replace(key, rate="unlimited"), store)
        return await _Run(plan, seat, output, options, environ).run(questions)


class _Run:
    def __init__(self, plan: Plan, seat: Seat, output: Output, options: Options, environ: Mapping[str, str]) -> None:
        self._plan, self._seat, self._output, self._options = plan, seat, output, options
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._facts: Facts = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []
        self._readiness = Readiness(replica.peer_id for replica in plan.replicas)
        self._stored = plan.store is None
        """The store has been ready once, or there is none."""
        self._arrivals = Arrivals(plan, seat, output, self._facts.put_nowait)
        self._settled = asyncio.Event()
        """All replicas are ready at once, or it is known that they will not be."""
        self._announced = False
        self._tally: dict[str, int] = {}
        self._outcome: int = ExitCode.DONE
        self._signal: int | None = None
        self._deadline: float | None = None
        """When the grace that all agents share is over."""
        self._asking: asyncio.Task[None] | None = None
        self._idling = False
        """The questions are over, and the tasks in the store are waited for."""
        # Jitter keeps replicas that fell together from rising together.
        self._supervisor = s.Supervisor(_children(plan), lambda: random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        self._tasks = asyncio.TaskGroup()
        self._lives = Lives(
            plan,
            seat,
            output,
            self._facts.put_nowait,
            environ,
            log_level=options.log_level,
            grace=options.grace,
            programs=options.programs,
        )

    async def run(self, questions: Sequence[Question]) -> int:
        try:
            with _signals(self._facts):
                async with self._tasks:
                    if questions or self._options.until_idle:
                        self._asking = self._tasks.create_task(self._ask(questions))
                    self._arrivals.start(self._tasks)
                    self._act(self._supervisor.start())
                    self._expect_external()
                    await self._until_all_stopped()
                    self._arrivals.stop()
        finally:
            for timer in self._timers:
                timer.cancel()
        took, external = self._clock() - self._began, len(self._arrivals.external)
        own = len(self._plan.replicas) - external
        self._output.say("info", summary(own, external, self._supervisor, took, self._tally))
        return self._exit_code()

    async def _until_all_stopped(self) -> None:
        actions: list[s.Action] = []
        while s.AllStopped() not in actions:
            match fact := await self._facts.get():
                case Heard():
                    self._heard(fact)
                    continue
                case Seen() | Blind() | PatienceOver():
                    self._arrived(fact)
                    continue
                case Answered():
                    self._outcome = self._unless_cut_off(fact.code)
                    actions = [] if self._supervisor.stopping else self._supervisor.handle(s.StopAsked())
                case Interrupted():
                    self._interrupted(fact.number)
                    actions = self._supervisor.handle(s.StopAsked())
                case _:
                    if isinstance(fact, s.Exited):
                        self._readiness.gone(fact.name)
                        self._arrivals.forget(fact.name)
                    actions = self._supervisor.handle(fact)
            self._act(actions)
        if self._asking is not None and self._asking.cancel():
            self._outcome = self._unless_cut_off(ExitCode.FAILED)

    # -- facts

    def _heard(self, heard: Heard) -> None:
        source = self._lives.sources[heard.name]
        match heard.message:
            case Ready():
                more = {"url": self._seat.url} if heard.name == HUB_NAME else {}
                where: dict[str, object] = {"external": True} if heard.pid is None else {"pid": heard.pid}
                self._output.tell(source, "info", "ready", **where, seconds=round(heard.after, 2), **more)
                self._readiness.ready(heard.name)
                self._stored = self._stored or heard.name == STORE_NAME
                if heard.pid is not None:
                    self._supervisor.handle(s.Proven(heard.name))
            case Online(online=online, detail=detail):
                news = self._readiness.online(heard.name, online)
                if news and not self._supervisor.stopping:
                    event = "is back at the hub" if online else "has lost the hub"
                    self._output.tell(source, "debug", event, **({"detail": detail} if detail else {}))
            case Tally(counts=counts):
                for what, count in counts.items():
                    self._tally[what] = self._tally.get(what, 0) + count
        self._note_readiness()

    def _note_readiness(self) -> None:
        took, total = self._clock() - self._began, len(self._plan.replicas)
        if self._complete and not self._announced:
            self._announced = True
            self._output.say("info", ready_line(total, len(self._arrivals.external), took, self._seat.url))
        elif self._readiness.partial and not self._announced and not self._supervisor.stopping:
            self._announced = True
            self._output.say(
                "warning", f"only {total - len(self._readiness.over)} of {counted(total, 'replica')} are ready"
            )
        if self._complete or self._readiness.hopeless:
            self._settled.set()
        else:
            self._settled.clear()

    @property
    def _complete(self) -> bool:
        return self._readiness.complete and self._stored

    def _interrupted(self, number: int) -> None:
        if self._supervisor.stopping:
            self._output.say("warning", f"{s.signal_name(number)} again: killing what still runs")
            self._outcome = 128 + number
            return
        self._output.say("info", f"{s.signal_name(number)}: ending in peace", grace=self._options.grace)
        self._signal = number
        if self._asking is not None and (self._idling or not self._settled.is_set()):
            self._asking.cancel()  # nothing was asked yet, or all was, and nobody takes anything new from now on
            self._outcome = 128 + number

    def _unless_cut_off(self, code: int) -> int:
        """An answer that a signal cut off must not pass for a complete one; one that got to its end does."""
        return code if self._signal is None or code == ExitCode.DONE else 128 + self._signal

    # -- who is seen at the hub

    def _expect_external(self) -> None:
        for name in self._arrivals.external:
            self._readiness.started(name)
            if name in self._arrivals.channels:
                self._arrivals.expect(name)
            else:  # it can be seen nowhere, so nobody waits for it
                self._heard(self._lives.seen(name))

    def _arrived(self, arrival: Arrival) -> None:
        match arrival:
            case Seen(name):
                if self._readiness[name] is Standing.STARTING:
                    self._heard(self._lives.seen(name))
            case Blind(error):
                self._output.say("error", f"it cannot be seen any more which programs are at the hub: {error}")
                for name in self._awaited(self._arrivals.channels):
                    self._readiness.gone(name, for_good=True)
                self._note_readiness()
            case PatienceOver():
                names = self._awaited(self._arrivals.external)
                if names and not self._supervisor.stopping:
                    self._output.say("info", self._arrivals.still_awaited(names))

    def _awaited(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._readiness[name] is Standing.STARTING]

    # -- actions

    def _act(self, actions: Sequence[s.Action]) -> None:
        for action in actions:
            match action:
                case s.Spawn(name):
                    self._readiness.started(name)
                    self._arrivals.expect(name)
                    self._tasks.create_task(self._lives.live(name))
                case s.SpawnAfter(name, delay, attempt, because):
                    event = f"{because}: it is started again in {delay:.2g} s"
                    self._output.tell(self._lives.sources[name], "warning", event, attempt=attempt)
                    self._later(delay, s.Due(name))
                case s.Drain(names, rank):
                    self._arrivals.stop()
                    grace = HUB_GRACE if {HUB_NAME, STORE_NAME} & {*names} else self._grace_left()
                    for name in names:
                        self._lives.drain(name, grace - min(1.0, 0.2 * grace))  # who needs it all still says goodbye
                    self._later(grace, s.GraceOver(rank))
                case s.Kill(name):
                    self._output.tell(self._lives.sources[name], "warning", "is killed: it did not end by itself")
                    self._lives.kill(name)
                case s.GiveUp(name, because):
                    self._output.tell(self._lives.sources[name], "error", f"has failed for good: {because}")
                    self._readiness.gone(name, for_good=True)
                case s.Finished(name):
                    self._output.tell(self._lives.sources[name], "info", "has ended by itself")
                    self._readiness.gone(name, for_good=True)
                case s.AllStopped():
                    pass
        self._note_readiness()

    def _grace_left(self) -> float:
        """Return what the ranks before have left of the grace, which all agents share."""
        now = self._clock()
        self._deadline = self._deadline or now + self._options.grace
        return max(self._deadline - now, LEAST_GRACE)

    def _later(self, delay: float, fact: s.Fact) -> None:
        now = self._clock()
        self._timers = [timer for timer in self._timers if timer.when() > now]
        self._timers.append(asyncio.get_running_loop().call_later(delay, self._facts.put_nowait, fact))

    # -- the questions

    async def _ask(self, questions: Sequence[Question]) -> None:
        """Put the questions once all replicas are ready, wait for the tasks, and report the outcome of both."""
        limit, late = asyncio.timeout(self._options.timeout), "no complete answer came"
        try:
            async with limit, self._counting() as idling:
                await self._settled.wait()
                if self._readiness.hopeless:
                    lost = counted(len(self._readiness.over), "replica")
                    what = "asked" if questions else "waited for"
                    raise NeverReady(f"nothing was {what}, because {lost} will never be ready")
                if questions:
                    asker = Asker(self._seat.url, self._plan.user(ASKER), self._seat.key, self._output)
                    await asker.ask(questions, lambda: self._signal is not None)
                if idling is not None:
                    self._idling, late = True, "tasks are still open: they were not done"
                    await idling.wait()
            code = ExitCode.DONE
        except OrchestratorError as error:
            self._output.say("error", str(error))
            code = error.exit_code
        except OSError as error:
            if limit.expired():
                self._output.say("error", f"{late} within {self._options.timeout:g} s")
                code = ExitCode.TIMED_OUT
            else:
                self._output.say("error", f"the answer could not be written: {(error.strerror or str(error)).lower()}")
                code = ExitCode.FAILED
        self._facts.put_nowait(Answered(code))

    @asynccontextmanager
    async def _counting(self) -> AsyncIterator[Idling | None]:
        """Know of the tasks that end in the store, where the run is to end with them."""
        if not self._options.until_idle or self._seat.store is None:
            yield None
            return
        from orchestrator.runtime.idling import Idling  # a run without it loads no way to the store into its parent

        async with Idling(self._seat.store[0], self._output, str(self._plan.source)) as idling:
            yield idling

    def _exit_code(self) -> int:
        """Return what matters most: a misfit, the outcome of the questions, anything that failed or had to be killed."""
        failed = self._supervisor.failed.values()
        if any(gone.exit_code == ExitCode.INVALID for gone in failed):
            return ExitCode.INVALID
        if self._outcome != ExitCode.DONE:
            return self._outcome
        return ExitCode.FAILED if failed or self._supervisor.unclean else ExitCode.DONE


class NeverReady(OrchestratorError):
    """A replica has failed for good before anything could be asked or waited for."""


def _children(plan: Plan) -> list[s.Child]:
    """Return the hub, if it is ours, the store, if there is one, and the replicas: those that take work before those that
    hand it out.

    They end the other way round, so that a task under way finds those whom it needs.
    """
    ranks = stop_ranks(plan)
    last = max(ranks.values(), default=0) + 1
    served = [*([HUB_NAME] if plan.hub.url is None else []), *([STORE_NAME] if plan.store is not None else [])]
    servers = [s.Child(name, SERVER_RESTART, rank=last, essential=True) for name in served]
    started_here = [replica for replica in plan.replicas if not replica.external]
    ordered = sorted(started_here, key=lambda replica: ranks[replica.agent], reverse=True)
    return servers + [s.Child(replica.peer_id, replica.restart, rank=ranks[replica.agent]) for replica in ordered]


def stop_ranks(plan: Plan) -> dict[str, int]:
    """Return when each agent is told to end: after everybody who hands it work; those who hand out none come last."""
    workers = {replica.agent: {pool.agent for pool in replica.pools} for replica in plan.replicas}
    ranks: dict[str, int] = {}
    waiting = {agent for agent, below in workers.items() if below}
    while waiting:
        # Agents that hand each other work have no first: they end together.
        first = {
            agent for agent in waiting if not any(agent in workers[other] for other in waiting - {agent})
        } or waiting
        ranks.update(dict.fromkeys(first, max(ranks.values(), default=-1) + 1))
        waiting = waiting - first
    last = max(ranks.values(), default=-1) + 1
    return {agent: ranks.get(agent, last) for agent in workers}


@contextmanager
def _signals(facts: Facts) -> Iterator[None]:
    """While entered, SIGINT and SIGTERM are facts."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, facts.put_nowait, Interrupted(number))
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
