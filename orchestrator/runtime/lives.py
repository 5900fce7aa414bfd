"""The processes of a run: each is started with what it needs to know, answered while it lives, and reported when it ends.

What happens to them is decided elsewhere; from here only facts go out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.control import (
    AccessChanged,
    AwaitingTurn,
    Beat,
    Begin,
    ControlError,
    Drain,
    Ending,
    Figures,
    HubSpec,
    Loaded,
    MetricsWanted,
    Online,
    Ready,
    SignIn,
    Spec,
    Standing,
    StoreSpec,
    Tally,
    TokenGranted,
    TokenWanted,
    Watched,
)
from orchestrator.runtime.dashboard_access import DashboardAccess
from orchestrator.runtime.environment import child_environment, needs_interpreter
from orchestrator.runtime.gathered import Gathered
from orchestrator.runtime.hearing import Hearing
from orchestrator.runtime.nursery import Program
from orchestrator.runtime.process import LAST_OUTPUT
from orchestrator.runtime.records import HUB, STORE, Source
from orchestrator.runtime.shared_engine import engine_of
from orchestrator.runtime.supervisor import Ended, Exited
from orchestrator.runtime.told_metrics import told_metrics
from orchestrator.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Coroutine, Mapping
    from socket import socket

    from orchestrator.runtime.control import ToChild, ToParent
    from orchestrator.runtime.output import Output
    from orchestrator.runtime.starting import Child, Starter
    from orchestrator.runtime.store_seat import StoreSeat
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica
    from orchestrator.topology.store_access import Access

HUB_NAME: Final = "(hub)"
"""The hub among the names of children: no peer id, since agents' names hold no parentheses."""
STORE_NAME: Final = "(store)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The modules that children run: ``python -m MODULE FD``, or forked and by its `main`, or inline and by its
    `serve_inline`."""

    agent: str = "orchestrator.runtime.host"
    command: str = "orchestrator.runtime.command_host"
    hub: str = "orchestrator.runtime.hub"
    store: str = "orchestrator.runtime.store"
    fork: bool = True
    """Replicas may be forked; the hub and the store never are."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a run's processes meet: the hub's address, its listening socket when it is ours, the signing key, and the
    store with its listening socket when there is one of the run."""

    url: str
    listening: socket | None
    key: SecretKey
    store: tuple[StoreSeat, socket] | None = None
    trusted: str = ""
    """Path of the certificate of a hub that is ours; empty = it has none, or is trusted as any other."""
    record: str = ""
    """Path of the recording that a hub of ours goes on with; empty = it writes none."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A child said something about itself, or was seen; `after` is how many seconds its process has lived."""

    name: str
    message: AwaitingTurn | Ready | Online | Tally
    pid: int | None
    """`None` for a replica that runs elsewhere."""
    after: float


Report: TypeAlias = "Callable[[Exited | Heard], None]"


@dataclass(slots=True)
class _Life:
    """One process of a child, from its start to its end."""

    started: float
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    process: Child | None = None
    last_words: Ending | None = None
    draining: float | None = None
    """Seconds of grace of a wish to end that came before there was a process to tell."""
    private: str = ""
    """Path of the directory that is its alone, if it has one."""
    watchdog: Watchdog | None = None
    over: bool = False


class Lives:
    """All children of one run, by name. Each life is a task of `tasks`, which ends when its process has."""

    def __init__(
        self,
        plan: Plan,
        seat: Seat,
        output: Output,
        report: Report,
        environ: Mapping[str, str],
        *,
        log_level: str,
        grace: float,
        programs: Programs,
        nursery: Starter,
        waiting: Container[str] = (),
    ) -> None:
        """`waiting`: the replicas that begin only when they are told (see `begin`)."""
        self._seat, self._output, self._report = seat, output, report
        self._log_level, self._grace, self._programs = log_level, grace, programs
        self._nursery = nursery
        self.sources: Final = {HUB_NAME: HUB, STORE_NAME: STORE}
        self._access: dict[str, Access] = {}
        self._standing: Standing | None = None
        self.files: Final[dict[str, dict[str, int]]] = {}
        """By replica, the files of the handlers' project that its process has imported, and when they were changed."""
        self.gathered: Final = Gathered()
        """What the replicas have done."""
        self._watched = False
        self.on_dashboard: Callable[[], None] = lambda: None
        """Called when somebody has signed in to the dashboard."""
        self.entrance: Final = DashboardAccess(seat.key, plan, time.time)
        """Who gets to see the dashboard."""
        self._lives: dict[str, _Life] = {}
        self.plan(plan, environ, waiting)
        self._began = asyncio.get_running_loop().time()

    def plan(self, plan: Plan, environ: Mapping[str, str], waiting: Container[str] = ()) -> None:
        """Start what is started from now on as `plan` says; those that run are not told."""
        self._plan, self._environ, self._waiting = plan, environ, waiting
        self.entrance.plan = plan
        self._replicas = {replica.peer_id: replica for replica in plan.replicas}
        for name, replica in self._replicas.items():
            self.sources.setdefault(name, Source(name, replica.agent, replica.replica))
        # Whoever is about to end still needs what it could do until now.
        fresh = {name: access for name, access in access_of(plan).items() if name not in self._access}
        self._grant({**self._access, **fresh})

    def _grant(self, access: dict[str, Access]) -> None:
        """Have the store let each peer do this, and nobody else anything."""
        if access != self._access:
            self._access = access
            self.tell(STORE_NAME, AccessChanged(access))

    def live(self, name: str) -> Coroutine[None, None, None]:
        """Start a child's process, answer what it asks, and report its end: a life, to be awaited as a task."""
        life = self._lives[name] = _Life(asyncio.get_running_loop().time())
        return self._live(name, life)

    def seen(self, name: str) -> Heard:
        """Return what a replica that was seen to be ready would have said of itself."""
        life = self._lives.get(name)
        now = asyncio.get_running_loop().time()
        if life is None or life.process is None:
            return Heard(name, Ready(now - self._began), None, now - self._began)
        return Heard(name, Ready(now - life.started), life.process.pid, now - life.started)

    async def _live(self, name: str, life: _Life) -> None:
        try:
            ended = await self._lived(name, life)
        finally:
            life.over = True
            if life.private:
                shutil.rmtree(life.private, ignore_errors=True)
        self.gathered.ended(name, time.time())
        others = {peer: access for peer, access in self._access.items() if peer != name}
        self._grant({**others, **{peer: access for peer, access in access_of(self._plan).items() if peer == name}})
        self._report(Exited(name, ended, asyncio.get_running_loop().time()))

    async def _lived(self, name: str, life: _Life) -> Ended:
        hearing = Hearing(self.sources[name], self._output)
        try:
            process = await self._spawn(name, life, hearing)
        except OSError as error:
            return Ended(sentence=(error.strerror or str(error)).lower())
        life.process = process
        if life.draining is not None:
            process.control.send(Drain(life.draining))
        listening = asyncio.create_task(self._listen(name, life, process))
        try:
            code = await process.wait()
            await asyncio.wait([listening], timeout=LAST_OUTPUT)
            await process.close()
            await listening
        finally:
            if life.watchdog is not None:
                life.watchdog.stop()
            listening.cancel()
            process.kill()  # only where a cancellation or a mistake of ours brought us here too early
            hearing.close()
        said = life.last_words or Ending("")
        return Ended.of(code, said.sentence, said.close_code)

    def drain(self, name: str, grace: float) -> None:
        """Ask a child to end within `grace` seconds."""
        life = self._lives[name]
        life.draining = grace
        if life.watchdog is not None:
            life.watchdog.stop()  # from here on it is the grace that ends it
        if life.process is not None:
            life.process.control.send(Drain(grace))

    def process_of(self, name: str) -> tuple[int | None, float | None]:
        """Return the pid of a child, and when it was started by the loop's clock; `None` twice where none runs."""
        life = self._lives.get(name)
        if life is None or life.process is None or life.over:
            return None, None
        return life.process.pid, life.started

    def drains(self, name: str) -> bool:
        """Tell whether a child has been told to end."""
        life = self._lives.get(name)
        return life is not None and life.draining is not None

    def tell(self, name: str, message: ToChild) -> None:
        """Send a message to a child, if it runs; one that is started later has it in its spec."""
        life = self._lives.get(name)
        if life is not None and life.process is not None:
            life.process.control.send(message)

    def tell_hub(self, standing: Standing) -> None:
        """Have the hub, this one and those that are started after it, say how the run stands to whoever asks its port."""
        self._standing = standing
        self.tell(HUB_NAME, standing)

    def watch(self, watched: bool) -> None:
        """Have the replicas, those that run and those that are started later, say often what they do; or seldom again."""
        if watched == self._watched:
            return
        self._watched = watched
        for name, replica in self._replicas.items():
            if not replica.command:
                self.tell(name, Watched(watched))

    def begin(self, name: str) -> None:
        """Let a replica set up and join that waits for its turn."""
        self.tell(name, Begin())

    def kill(self, name: str) -> None:
        process = self._lives[name].process
        if process is not None:
            process.kill()

    async def _spawn(self, name: str, life: _Life, hearing: Hearing) -> Child:
        if name == HUB_NAME:
            return await self._spawn_hub(hearing)
        if name == STORE_NAME:
            return await self._spawn_store(hearing)
        replica = self._replicas[name]
        environment = child_environment(
            self._environ, self._plan.withheld, replica.environment, inherit=replica.inherit_environment
        )
        environment["ORCHESTRATOR_PEER_ID"] = name
        if replica.command:
            life.private = str(Path(_runtime_directory(self._environ), f"orchestrator-{secrets.token_hex(8)}"))
        module = self._programs.command if replica.command else self._programs.agent
        fork = self._programs.fork and replica.start_method == "fork" and not needs_interpreter(replica.environment)
        program = Program(module, fork, name, process=bool(replica.command), patience=replica.watchdog)
        process = await self._nursery.start(program, hearing, environment)
        directory = str(self._plan.directory)
        app_dir = "" if self._plan.app_dir is None else str(self._plan.app_dir)
        store = "" if replica.store is None or self._seat.store is None else self._seat.store[0].path
        engine = None if replica.store is None else engine_of(self._plan)
        spec = Spec(
            replica,
            self._seat.url,
            directory,
            life.instance,
            self._log_level,
            self._grace,
            life.private,
            app_dir,
            store,
            engine,
            self._seat.trusted,
            waits=name in self._waiting,
        )
        process.control.send(spec)
        self.gathered.began(
            name, replica.agent, 0 if replica.command else replica.concurrency
        )  # a program counts nothing
        if self._watched and not replica.command:
            process.control.send(Watched())
        return process

    async def _spawn_hub(self, hearing: Hearing) -> Child:
        assert self._seat.listening is not None, "a hub of ours has a socket of ours"
        environment = child_environment(self._environ, self._plan.withheld, {})
        descriptor = self._seat.listening.fileno()
        process = await self._nursery.start(Program(self._programs.hub), hearing, environment, [descriptor])
        spec = HubSpec(
            process.lent,
            (self._seat.key,),
            self._log_level,
            self._grace,
            self._standing,
            self._plan.hub.backplane or "",
            None if self._plan.hub.tls is None else tuple(map(str, self._plan.hub.tls)),
            self._seat.record,
        )
        process.control.send(spec)
        return process

    async def _spawn_store(self, hearing: Hearing) -> Child:
        plan = self._plan
        assert self._seat.store is not None, "a store has a socket of ours"
        assert plan.store is not None, "and an address"
        seat, listening = self._seat.store
        environment = child_environment(self._environ, plan.withheld, {})
        program = Program(self._programs.store)
        process = await self._nursery.start(program, hearing, environment, [listening.fileno()])
        spec = StoreSpec(
            process.lent,
            plan.store,
            str(plan.directory),
            (self._seat.key,),
            seat.operator,
            self._access,
            self._log_level,
            self._grace,
        )
        process.control.send(spec)
        return process

    async def _listen(self, name: str, life: _Life, process: Child) -> None:
        try:
            async for message in process.control:
                self._answer(name, life, process, message)
        except ControlError as error:
            self._output.tell(self.sources[name], "error", f"{error}; it is killed")
            process.kill()

    def _answer(self, name: str, life: _Life, process: Child, message: ToParent) -> None:
        match message:
            case TokenWanted(request=request):
                if name in self._replicas:
                    token = self._token(self._replicas[name], life.instance)
                    process.control.send(TokenGranted(request, token))
            case Ending():
                life.last_words = message
            case Beat():
                self._watch(name, life, process)
            case Loaded(files=files):
                self.files[name] = files
            case Figures():
                self.gathered.heard(name, self.sources[name].agent or "", message)
            case SignIn() if name == HUB_NAME:
                answer = self.entrance.answer(message)
                process.control.send(answer)
                if answer.token:
                    self.on_dashboard()
            case MetricsWanted(request=request) if name == HUB_NAME:
                process.control.send(told_metrics(request, self.gathered.totals()))
            case Ready() | Online() | Tally() | AwaitingTurn():
                after = asyncio.get_running_loop().time() - life.started
                self._report(Heard(name, message, process.pid, after))

    def _watch(self, name: str, life: _Life, process: Child) -> None:
        """Note a sign of life; the first is what the next ones are waited for from."""
        patience = self._replicas[name].watchdog if name in self._replicas else None
        if patience is None or life.draining is not None or not process.own_loop:
            return
        if life.watchdog is None:
            life.watchdog = Watchdog(patience, lambda: self._blocked(name, life, process, patience), process.kill)
        life.watchdog.beat()

    def _blocked(self, name: str, life: _Life, process: Child, patience: float) -> None:
        sentence = f"its event loop has been blocked for {patience:g} s, which is as long as its `watchdog` allows"
        self._output.tell(self.sources[name], "error", f"{sentence}: it says where it stands, and is ended")
        life.last_words = Ending(sentence)
        process.abort()

    def _token(self, replica: Replica, instance: str) -> str:
        claims = replica.claims(exp=int(time.time() + self._plan.hub.token_ttl), instance=instance)
        return mint(self._seat.key, claims)


def access_of(plan: Plan) -> dict[str, Access]:
    """Return what each peer may do with the store."""
    return {replica.peer_id: replica.store for replica in plan.replicas if replica.store is not None}


def _runtime_directory(environ: Mapping[str, str]) -> str:
    """Return where a user's processes keep what lives no longer than they do."""
    directory = environ.get("XDG_RUNTIME_DIR")
    return directory if directory and os.access(directory, os.W_OK | os.X_OK) else tempfile.gettempdir()
