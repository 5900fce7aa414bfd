"""One run of one plan: where its processes meet, who may speak to it, and its beginning and end."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
import traceback
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.agents.loading import search_roots
from orchestrator.errors import OrchestratorError
from orchestrator.protocol.limits import MIN_SECRET_BYTES
from orchestrator.protocol.tokens import SecretKey
from orchestrator.runtime import open_files
from orchestrator.runtime.hearing import Hearing
from orchestrator.runtime.listening import listen, url_of
from orchestrator.runtime.lives import Programs, Seat
from orchestrator.runtime.nursery import Nursery
from orchestrator.runtime.records import RUN, Record
from orchestrator.runtime.reloading import Reloader
from orchestrator.runtime.run_loop import Interrupted, RunLoop
from orchestrator.runtime.shared_engine import unclaimed
from orchestrator.runtime.store_seat import seated
from orchestrator.runtime.watching import watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence

    from orchestrator.runtime.asking import Question
    from orchestrator.runtime.guardian_process import Guardian
    from orchestrator.runtime.output import Output
    from orchestrator.runtime.plan_source import PlanSource
    from orchestrator.runtime.process import Hear
    from orchestrator.runtime.recent import Recent
    from orchestrator.runtime.run_seat import OwnSeat
    from orchestrator.runtime.starting import Starter
    from orchestrator.topology.plan import Plan


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
    abort_on_failure: bool = False
    """End as soon as one child has failed for good."""
    inline: bool = False
    """Have hub, store and handlers run in this process and in its event loop."""
    watch: bool = False
    """Read the files again whenever one of them changes."""
    record: Path | None = None
    """File that the hub writes every frame into, without secrets; only where the run has a hub of its own."""
    began: float | None = None
    """When it was asked for, by the clock of `time.monotonic`; `None` = when `run` is called."""
    programs: Programs = field(default_factory=Programs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How others reach a run while it lives; nobody does where these are `None`."""

    source: PlanSource | None = None
    """Where its plan comes from, and is read from again."""
    seat: OwnSeat | None = None
    """Where commands find it."""
    recent: Recent | None = None
    """What was said last, for those who ask."""
    on_starting: Callable[[int, int], None] = lambda _ready, _planned: None
    """Called whenever it may be another number of replicas that are ready, of how many, until `on_ready` is."""
    on_ready: Callable[[], None] = lambda: None
    """Called once, when everything that is started here is as ready as it will be."""


def fresh_key() -> SecretKey:
    """Return a key for one run, known to its parent and its hub alone."""
    return SecretKey(f"sk_id_{secrets.token_hex(8)}", f"sk_secret_{secrets.token_urlsafe(2 * MIN_SECRET_BYTES)}")


async def run(
    plan: Plan,
    output: Output,
    options: Options,
    environ: Mapping[str, str],
    questions: Sequence[Question] = (),
    *,
    guardian: Guardian | None = None,
    reach: Reach | None = None,
) -> int:
    """Run a plan until everything has ended, and return the exit code of the whole.

    `environ` is what its processes inherit from; a `guardian` that runs already is taken over. With `questions`, it ends
    when they are answered. Raises `TooFewFiles`, `CannotListen`, `CannotRecord`, `NoPlace`, `EngineAway` or `EngineUnfit` before
    anything is started.
    """
    open_files.reserve(plan)
    await _look_at_engine(plan, output)
    key = plan.hub.key or fresh_key()
    hearing = Hearing(RUN, output)
    nursery = _inline(environ, hearing, output, options) if options.inline else Nursery(environ, hearing, guardian)
    with ExitStack() as stack:
        try:
            store = stack.enter_context(seated(plan.source, environ)) if plan.serves_store else None
            if plan.hub.url is not None:
                seat = Seat(plan.hub.url, None, key, store)
            else:
                listening = stack.enter_context(listen(plan.hub.host, plan.hub.port))
                # Our own agents have no message budget; users keep the protocol's.
                tls = plan.hub.tls
                url = url_of(listening, secure=tls is not None)
                trusted = "" if tls is None else str(tls[0])
                record = "" if options.record is None else _begun(options.record, plan)
                seat = Seat(url, listening, replace(key, rate="unlimited"), store, trusted, record)
            loop = RunLoop(plan, seat, output, options, environ, nursery, questions)
            async with _reachable(loop, seat, output, options, reach or Reach()):
                return await loop.run()
        finally:
            await nursery.close()
            hearing.close()


def _begun(record: Path, plan: Plan) -> str:
    """Begin a recording, and return where its hub finds it."""
    from orchestrator.hub.record_file import create  # few runs are recorded
    from orchestrator.protocol.frames import encode_json
    from orchestrator.runtime.node_name import node_name
    from orchestrator.runtime.run_outline import outline_of

    create(record, encode_json(outline_of(plan, node=node_name(), began=time.time())))
    return str(record.absolute())


async def _look_at_engine(plan: Plan, output: Output) -> None:
    """See that the store which machines share can be used, and say whose tasks in it nobody is going to take."""
    for sentence in await unclaimed(plan):
        output.say("warning", sentence)


def _inline(environ: Mapping[str, str], hearing: Hearing, output: Output, options: Options) -> Starter:
    from orchestrator.runtime.inline import InlineNursery  # with a debugger, which no other run needs

    def blocked(hear: Hear | None, seconds: float, stack: str) -> None:
        source = hear.source if isinstance(hear, Hearing) else RUN
        event = f"the event loop that all share has been blocked for {seconds:.3g} s: nothing else goes on meanwhile"
        output.put(source, Record(time.time(), "error", event, {}, stack))

    return InlineNursery(environ, hearing, blocked, level=options.log_level, settle=lambda: output.settle(0.5))


@asynccontextmanager
async def _reachable(loop: RunLoop, seat: Seat, output: Output, options: Options, reach: Reach) -> AsyncIterator[None]:
    """While entered, signals, changed files and commands reach the run."""
    reloader = Reloader(loop, reach.source, output)
    loop.on_starting, loop.on_ready = reach.on_starting, reach.on_ready
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(loop, reloader))
        if options.inline:
            from orchestrator.runtime.inline import insistent

            stack.enter_context(insistent())
        if reach.source is not None:
            await stack.enter_async_context(_beside(reloader.follow(), "reading its files again", output))
        if options.watch and reach.source is not None:
            await stack.enter_async_context(_beside(_watch(loop, reach.source, reloader), "watching its files", output))
        if reach.seat is not None and reach.recent is not None:
            from orchestrator.runtime.dashboards import serve_dashboards
            from orchestrator.runtime.operated import OperatedRun
            from orchestrator.runtime.operator import Operator

            reach.seat.tell_hub(seat.url)
            operated, wanted = OperatedRun(loop, reloader, seat, reach.source), asyncio.Event()
            loop.lives.on_dashboard = wanted.set
            looked_at = serve_dashboards(loop, seat, operated, reach.recent, output, wanted)
            await stack.enter_async_context(_beside(looked_at, "being seen by dashboards", output))
            operator = Operator(operated, reach.recent)
            await stack.enter_async_context(_beside(operator.serve(reach.seat.listening), "answering commands", output))
        yield


async def _watch(loop: RunLoop, source: PlanSource, reloader: Reloader) -> None:
    """Have the files read again whenever one of them changes, whichever they are by then."""
    while True:
        reloader.adopted.clear()
        watching = asyncio.create_task(watch(*_watched(loop, source), reloader.ask), name="watched files")
        try:
            adopted = asyncio.create_task(reloader.adopted.wait(), name="other files")
            await asyncio.wait([watching, adopted], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                return watching.result()
        finally:
            for task in (watching, adopted):
                task.cancel()
            await asyncio.gather(watching, adopted, return_exceptions=True)


def _watched(loop: RunLoop, source: PlanSource) -> tuple[frozenset[Path], tuple[Path, ...]]:
    """Return the folders below which source files count, and the files that count wherever they are."""
    files = tuple(Path(name).resolve() for name in source.current.topology.origin.texts)
    folders = {file.parent for file in files} | {*search_roots(loop.plan.directory, loop.plan.app_dir)}
    return frozenset(folders), files


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], name: str, output: Output) -> AsyncIterator[None]:
    """While entered, `work` goes on. A failure of it is said, and the run goes on without it."""
    task = asyncio.create_task(_said(work, name, output), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _said(work: Coroutine[Any, Any, None], name: str, output: Output) -> None:
    try:
        await work
    except (OrchestratorError, OSError) as error:
        output.say("error", f"the run goes on without {name}: {error}")
    except Exception as error:  # noqa: BLE001 - a mistake of ours, which is not to end what runs well
        told = "".join(traceback.format_exception(error))
        output.put(RUN, Record(time.time(), "error", f"the run goes on without {name}", exception=told))


@contextmanager
def _signals(loop: RunLoop, reloader: Reloader) -> Iterator[None]:
    """While entered, SIGINT and SIGTERM ask the run to end, and SIGHUP has it read its files again.

    A SIGHUP that tells that the terminal is gone is a wish to end, unless the command was started to outlive that (`nohup`).
    """
    events = asyncio.get_running_loop()
    ends = (signal.SIGINT, signal.SIGTERM)
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    attended = not outlives and _has_terminal()

    def hang_up() -> None:
        if attended and not _has_terminal():
            loop.facts.put_nowait(Interrupted(signal.SIGHUP))
        else:
            reloader.ask()

    for number in ends:
        events.add_signal_handler(number, loop.facts.put_nowait, Interrupted(number))
    events.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number in (*ends, signal.SIGHUP):
            events.remove_signal_handler(number)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
