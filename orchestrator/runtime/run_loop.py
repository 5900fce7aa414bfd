"""One run while it lives: the loop that hands every fact to those who decide, and does what they decide.

Children, timers, signals and commands only report facts; nothing is decided anywhere else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import ExitCode, listed
from orchestrator.hub.local_user import is_loopback
from orchestrator.runtime import supervisor as s
from orchestrator.runtime.arrivals import Arrivals, Blind, PatienceOver, Seen
from orchestrator.runtime.control import AwaitingTurn, Online, Ready, Revised, Standing, Tally
from orchestrator.runtime.errand import Answered, Errand
from orchestrator.runtime.lives import HUB_NAME, STORE_NAME, Heard, Lives
from orchestrator.runtime.planned_children import child_of, children_of, who_waits
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.readiness import Standing as Stands
from orchestrator.runtime.start_order import StartOrder, needs_of, stop_ranks
from orchestrator.runtime.summary import counted, dashboard_line, link_line, ready_here_line, ready_line, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.runtime.arrivals import Arrival
    from orchestrator.runtime.asking import Question
    from orchestrator.runtime.control import ToChild
    from orchestrator.runtime.lives import Seat
    from orchestrator.runtime.output import Output
    from orchestrator.runtime.runner import Options
    from orchestrator.runtime.starting import Starter
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.revision import Revision

LEAST_GRACE: Final = 1.0
"""Seconds that an agent has to end, however long those before it took."""
HUB_GRACE: Final = 3.0
"""Seconds that the hub and the store have at most to end, once the agents have had theirs."""
SLOW: Final = 10.0
"""Seconds after which it is said who is still starting, and who waits for them."""
UNSEEN: Final = "it is listed on no channel, and nobody can tell whether it runs"
"""About a replica that is started elsewhere, and counts as ready for want of anything better."""
MAX_LACKING: Final = 20
"""Names of replicas that are not ready which are told one by one."""

Fact: TypeAlias = "s.Fact | Heard | Arrival | Interrupted | Answered | Hurried | Slow"


class Interrupted:
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class Hurried:
    """A command asked the run to end within so many seconds."""

    def __init__(self, grace: float | None) -> None:
        self.grace = grace


class Slow:
    """The start takes long."""


class RunLoop:
    """The processes of one run. `facts` is where everything that happens is put."""

    def __init__(
        self,
        plan: Plan,
        seat: Seat,
        output: Output,
        options: Options,
        environ: Mapping[str, str],
        nursery: Starter,
        questions: Sequence[Question] = (),
    ) -> None:
        self.plan, self._seat, self._output, self._options = plan, seat, output, options
        self._grace = options.grace
        self._clock = asyncio.get_running_loop().time
        self._began = time.monotonic() if options.began is None else options.began
        self.facts: asyncio.Queue[Fact] = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []
        self.readiness = Readiness(replica.peer_id for replica in plan.replicas)
        self._order = StartOrder(needs_of(plan.here))
        self._stored = not plan.serves_store
        """The store has been ready once, or the run has none of its own."""
        self._arrivals = Arrivals(plan, seat, output, self.facts.put_nowait)
        self.parting = asyncio.Event()
        """The hub is about to be told to end: whoever of the run itself is connected to it leaves before."""
        self._announced = False
        self._lasts = not (questions or options.until_idle)
        """It goes on until somebody ends it."""
        self._told_ready = False
        """Whoever waits for the start has been told that it is over."""
        self._tally: dict[str, int] = {}
        self._outcome: int = ExitCode.DONE
        self._answered = False
        self._signal: int | None = None
        self._deadline: float | None = None
        """When the grace that all agents share is over."""
        self._told: Standing | None = None
        """What the hub was told last of how the run stands."""
        self.detail: dict[str, str] = {}
        """Why each child that does not run does not, or is to be started again."""
        self.last_error: dict[str, str] = {}
        """How the process of each child last ended badly."""
        self.ready_since: dict[str, float] = {}
        """When each child got ready that is, by the loop's clock."""
        self.restarts: Counter[str] = Counter()
        self.on_starting: Callable[[int, int], None] = lambda _ready, _planned: None
        """Called until then, whenever it may be another number of replicas that are ready, of how many."""
        self.on_ready: Callable[[], None] = lambda: None
        """Called once, when everything that is started here is as ready as it will be."""
        self._rolls: list[tuple[tuple[str, ...], asyncio.Future[s.RollStopped | None]]] = []
        self._changes: set[asyncio.Future[None]] = set()
        self._errand = Errand(
            questions,
            plan,
            seat,
            output,
            self.facts.put_nowait,
            until_idle=options.until_idle,
            timeout=options.timeout,
            environ=environ,
        )
        # Jitter keeps replicas that fell together from rising together.
        self.supervisor = s.Supervisor(
            children_of(plan),
            lambda: random.uniform(0.75, 1.25),  # noqa: S311 - no secret
            abort_on_failure=options.abort_on_failure,
        )
        self._tasks = asyncio.TaskGroup()
        self.lives = Lives(
            plan,
            seat,
            output,
            self.facts.put_nowait,
            environ,
            log_level=options.log_level,
            grace=options.grace,
            programs=options.programs,
            nursery=nursery,
            waiting=who_waits(plan),
        )
        self.lives.gathered.restarts = self.restarts

    async def run(self) -> int:
        """Start everything, and return the exit code of the run when all of it has ended."""
        try:
            async with self._tasks:
                self._errand.start(self._tasks)
                self._arrivals.start(self._tasks)
                self._act(self.supervisor.start())
                slow = asyncio.get_running_loop().call_later(SLOW, self.facts.put_nowait, Slow())
                self._timers.append(slow)
                self._expect_elsewhere()
                await self._until_all_stopped()
                self._arrivals.stop()
        finally:
            for timer in self._timers:
                timer.cancel()
            for _, done in self._rolls:
                done.cancel()
            self._note_change()
        took, others = time.monotonic() - self._began, len(self._arrivals.elsewhere)
        own = len(self.plan.replicas) - others
        self._output.say("info", summary(own, others, self.supervisor, took, self._tally))
        return self._exit_code()

    async def _until_all_stopped(self) -> None:
        stopped = False
        while not stopped:
            match fact := await self.facts.get():
                case Heard():
                    self._heard(fact)
                    continue
                case Seen() | Blind() | PatienceOver():
                    self._arrived(fact)
                    continue
                case Slow():
                    self._say_who_is_slow()
                    continue
                case Answered():
                    self._answered = True
                    self._outcome = self._unless_cut_off(fact.code)
                    actions = [] if self.supervisor.stopping else self.supervisor.handle(s.StopAsked())
                case Interrupted():
                    self._interrupted(fact.number)
                    actions = self.supervisor.handle(s.StopAsked())
                case Hurried():
                    if self.supervisor.stopping:
                        continue
                    self._grace = self._grace if fact.grace is None else fact.grace
                    self._output.say("info", "asked to stop: ending in peace", grace=self._grace)
                    self._errand.interrupt()
                    actions = self.supervisor.handle(s.StopAsked())
                case _:
                    if isinstance(fact, s.Exited):
                        self.readiness.gone(fact.name)
                        self._note_exit(fact)
                        self._arrivals.forget(fact.name)
                        self._let_begin(self._order.settled(fact.name))
                    actions = self.supervisor.handle(fact)
            stopped = self._act(actions)
        code = await self._errand.end()
        if code is not None and not self._answered and self._outcome == ExitCode.DONE:
            self._outcome = self._unless_cut_off(code)

    # -- facts

    def _heard(self, heard: Heard) -> None:
        source = self.lives.sources[heard.name]
        match heard.message:
            case AwaitingTurn():
                self._let_begin(self._order.asked(heard.name))
            case Ready():
                more = {"url": self._seat.url} if heard.name == HUB_NAME else {}
                other = "elsewhere" if heard.name in self.plan.elsewhere else "external"
                where: dict[str, object] = {other: True} if heard.pid is None else {"pid": heard.pid}
                self._output.tell(source, "info", "ready", **where, seconds=round(heard.after, 2), **more)
                self.readiness.ready(heard.name)
                self.ready_since[heard.name] = self._clock()
                self.detail.pop(heard.name, None)
                self._stored = self._stored or heard.name == STORE_NAME
                self._let_begin(self._order.settled(heard.name))
                if heard.pid is not None:
                    self._act(self.supervisor.handle(s.Proven(heard.name)))
            case Online(online=online, detail=detail):
                news = self.readiness.online(heard.name, online)
                if news and online:
                    self.ready_since[heard.name] = self._clock()
                if news and not self.supervisor.stopping:
                    event = "is back at the hub" if online else "has lost the hub"
                    self._output.tell(source, "debug", event, **({"detail": detail} if detail else {}))
            case Tally(counts=counts):
                for what, count in counts.items():
                    self._tally[what] = self._tally.get(what, 0) + count
        self._note_readiness()

    def _note_exit(self, exited: s.Exited) -> None:
        self.ready_since.pop(exited.name, None)
        if exited.ended.code != ExitCode.DONE:
            self.last_error[exited.name] = str(exited.ended)

    def _let_begin(self, names: Iterable[str]) -> None:
        for name in names:
            self.lives.begin(name)

    def _note_readiness(self) -> None:
        took, total = time.monotonic() - self._began, len(self.plan.replicas)
        if not self._told_ready:
            self.on_starting(total - len(self.readiness.lacking), total)
        if self.complete and not self._announced:
            self._announced = True
            unseen = [name for name in self._arrivals.elsewhere if name not in self._arrivals.channels]
            self._output.say(
                "info", ready_line(total, len(self._arrivals.elsewhere), took, self._seat.url, unseen=unseen)
            )
            self._tell_ready()
        elif self.readiness.partial and not self._announced and not self.supervisor.stopping:
            self._announced = True
            self._output.say(
                "warning", f"only {total - len(self.readiness.over)} of {counted(total, 'replica')} are ready"
            )
            self._tell_ready()
        elif self._settled_here and not self._told_ready and not self.supervisor.stopping:
            self._say_ready_here(took)
            self._tell_ready()
        self._errand.lost = len(self.readiness.over)
        if self.complete or self.readiness.hopeless:
            self._errand.settled.set()
        else:
            self._errand.settled.clear()
        self._tell_hub()
        self._note_change()

    def _tell_ready(self) -> None:
        if not self._told_ready:
            self._told_ready = True
            self._say_where_to_look()
            self.on_ready()

    def _say_where_to_look(self) -> None:
        """Say where the dashboard is. A hub that others reach signs nobody in by itself: a terminal is told a link that does,
        and a log, which others may read, is not."""
        listening = self._seat.listening
        if listening is None or not self._lasts:
            return
        line = dashboard_line(self._seat.url)
        if is_loopback(listening.getsockname()[0]):
            self._output.say("info", line)
            return
        name = self.plan.source.name
        if not self._output.whisper(link_line(self._seat.url, self.lives.entrance.new_code(), name)):
            self._output.say("info", f"{line} · `orchestrator dashboard {name}` prints a link that signs in")

    @property
    def _settled_here(self) -> bool:
        """All that this run starts are ready, or never will be, where another run is to start some: nobody has to wait for
        those."""
        settled = (Stands.READY, Stands.OVER)
        return (
            bool(self.plan.elsewhere)
            and self._stored
            and all(self.readiness[replica.peer_id] in settled for replica in self.plan.here)
        )

    def _say_ready_here(self, took: float) -> None:
        lacking, over = {*self.readiness.lacking}, {*self.readiness.over}
        expected = [name for name in self._arrivals.elsewhere if name in lacking or name not in self._arrivals.channels]
        own = len(self.plan.here)
        failed = sum(replica.peer_id in over for replica in self.plan.here)
        if failed:
            self._output.say("warning", f"only {own - failed} of {counted(own, 'replica')} here are ready")
        else:
            self._output.say("info", ready_here_line(own, expected, took, self._seat.url))

    def _tell_hub(self) -> None:
        """Have the hub say how the run stands to whoever asks its port: who is started by other runs finds it ready."""
        lacking = tuple(name for name in self.readiness.lacking if name not in self.plan.elsewhere)
        planned = len(self.plan.replicas) - len(self.plan.elsewhere)
        standing = Standing(planned - len(lacking), planned, lacking[:MAX_LACKING])
        if standing != self._told and self._seat.listening is not None:
            self._told = standing
            self.lives.tell_hub(standing)

    @property
    def complete(self) -> bool:
        return self.readiness.complete and self._stored

    def _interrupted(self, number: int) -> None:
        if self.supervisor.stopping:
            self._output.say("warning", f"{s.signal_name(number)} again: killing what still runs")
            self._outcome = 128 + number
            return
        self._output.say("info", f"{s.signal_name(number)}: ending in peace", grace=self._grace)
        self._signal = number
        if self._errand.interrupt():
            self._outcome = 128 + number

    def _unless_cut_off(self, code: int) -> int:
        """An answer that a signal cut off must not pass for a complete one; one that got to its end does."""
        return code if self._signal is None or code == ExitCode.DONE else 128 + self._signal

    # -- who is seen at the hub

    def _expect_elsewhere(self) -> None:
        for name in self._arrivals.elsewhere:
            if self.readiness[name] is not Stands.GONE:
                continue
            self.readiness.started(name)
            if name in self._arrivals.channels:
                self._arrivals.expect(name)
            else:  # so nobody waits for it
                self.readiness.ready(name)
                self.detail[name] = UNSEEN
        self._note_readiness()

    def _arrived(self, arrival: Arrival) -> None:
        match arrival:
            case Seen(name):
                if name in self.readiness and self.readiness[name] is Stands.STARTING:
                    self._heard(self.lives.seen(name))
            case Blind(error):
                self._output.say("error", f"it cannot be seen any more which programs are at the hub: {error}")
                for name in self._awaited(self._arrivals.channels):
                    self.readiness.gone(name, for_good=True)
                self._note_readiness()
            case PatienceOver():
                names = self._awaited(self._arrivals.elsewhere)
                if names and not self.supervisor.stopping:
                    self._output.say("info", self._arrivals.still_awaited(names))

    def _awaited(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self.readiness and self.readiness[name] is Stands.STARTING]

    def _say_who_is_slow(self) -> None:
        names = self._awaited(replica.peer_id for replica in self.plan.here)
        if not names or self.supervisor.stopping:
            return
        waiting = [name for name in names if name in self._order.waiting]
        slow = [name for name in names if name not in waiting]
        event = f"still starting after {SLOW:g} s: {listed(slow)}"
        self._output.say(
            "warning",
            f"{event}; {listed(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for that" if waiting else event,
        )

    # -- what is asked for while it runs

    def apply(self, revision: Revision, environ: Mapping[str, str]) -> None:
        """Become what a new plan says, as far as that differs."""
        self.plan = revision.plan
        self.lives.plan(self.plan, environ, who_waits(self.plan))
        self.readiness.planned(replica.peer_id for replica in self.plan.replicas)
        self._let_begin(self._order.revised(needs_of(self.plan.here)))
        self._arrivals.revised(self.plan, self._tasks)
        for replica in revision.told:
            self.lives.tell(replica.peer_id, Revised(replica))
        ranks = stop_ranks(self.plan)
        facts: list[s.Fact] = [s.Repolicied(child_of(replica, ranks)) for replica in self.plan.here]
        if revision.added:
            facts.append(s.Enlisted(tuple(child_of(replica, ranks) for replica in revision.added)))
        if revision.removed:
            facts.append(s.Dismissed(revision.removed))
        for fact in facts:
            self._act(self.supervisor.handle(fact))
        self._expect_elsewhere()

    def restart(self, names: Sequence[str]) -> asyncio.Future[s.RollStopped | None]:
        """Restart children one after the other; the future is `None` when all of them are ready again."""
        done: asyncio.Future[s.RollStopped | None] = asyncio.get_running_loop().create_future()
        if names:
            self._rolls.append((tuple(names), done))
            self._act(self.supervisor.handle(s.RestartAsked(tuple(names))))
        else:
            done.set_result(None)
        return done

    def _rolled(self, names: tuple[str, ...], outcome: s.RollStopped | None) -> None:
        for index, (asked, done) in enumerate(self._rolls):
            if asked == names:
                del self._rolls[index]
                if not done.done():
                    done.set_result(outcome)
                return

    def tell(self, name: str, message: ToChild) -> None:
        self.lives.tell(name, message)

    async def changed(self) -> None:
        """Wait until the standing of some replica may have changed."""
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.add(change)
        try:
            await change
        finally:
            self._changes.discard(change)

    def _note_change(self) -> None:
        for change in self._changes:
            if not change.done():
                change.set_result(None)

    # -- actions

    def _act(self, actions: Sequence[s.Action]) -> bool:
        """Do what was decided; return whether everything has stopped."""
        for action in actions:
            match action:
                case s.Spawn(name):
                    self.readiness.started(name)
                    self._arrivals.expect(name)
                    self._tasks.create_task(self.lives.live(name))
                case s.SpawnAfter(name, delay, attempt, because, number):
                    event = f"{because}: it is started again in {delay:.2g} s"
                    self._output.tell(self.lives.sources[name], "warning", event, attempt=attempt)
                    self.restarts[name] += 1
                    self.detail[name] = f"{because}; attempt {attempt}"
                    self._later(delay, s.Due(name, number))
                case s.Drain(names, rank):
                    self._arrivals.stop()
                    if HUB_NAME in names:
                        self.parting.set()
                    grace = HUB_GRACE if {HUB_NAME, STORE_NAME} & {*names} else self._grace_left()
                    for name in names:
                        self.lives.drain(name, grace - min(1.0, 0.2 * grace))  # who needs it all still says goodbye
                    self._later(grace, s.GraceOver(rank))
                case s.Retire(name, number):
                    self.lives.drain(name, self._grace - min(1.0, 0.2 * self._grace))
                    self._later(self._grace, s.RetireOver(name, number))
                case s.Kill(name):
                    self._output.tell(self.lives.sources[name], "warning", "is killed: it did not end by itself")
                    self.lives.kill(name)
                case s.GiveUp(name, because):
                    self._output.tell(self.lives.sources[name], "error", f"has failed for good: {because}")
                    self.detail[name] = because
                    self.readiness.gone(name, for_good=True)
                case s.Finished(name):
                    self._output.tell(self.lives.sources[name], "info", "has ended by itself")
                    self.readiness.gone(name, for_good=True)
                case s.Rolled(names):
                    self._rolled(names, None)
                case s.RollStopped(names=names):
                    self._rolled(names, action)
                case s.AllStopped():
                    return True
        self._note_readiness()
        return False

    def _grace_left(self) -> float:
        """Return what the ranks before have left of the grace, which all agents share."""
        now = self._clock()
        self._deadline = self._deadline or now + self._grace
        return max(self._deadline - now, min(LEAST_GRACE, self._grace))

    def _later(self, delay: float, fact: s.Fact) -> None:
        now = self._clock()
        self._timers = [timer for timer in self._timers if timer.when() > now]
        self._timers.append(asyncio.get_running_loop().call_later(delay, self.facts.put_nowait, fact))

    def _exit_code(self) -> int:
        """Return what matters most: a misfit, the outcome of the questions, anything that failed or had to be killed."""
        failed = self.supervisor.failed.values()
        if any(gone.exit_code == ExitCode.INVALID for gone in failed):
            return ExitCode.INVALID
        hub = self.supervisor.failed.get(HUB_NAME)
        if hub is not None and hub.exit_code == ExitCode.UNREACHABLE:  # what joins it to others cannot be reached
            return ExitCode.UNREACHABLE
        if self._outcome != ExitCode.DONE:
            return self._outcome
        return ExitCode.FAILED if failed or self.supervisor.unclean else ExitCode.DONE
