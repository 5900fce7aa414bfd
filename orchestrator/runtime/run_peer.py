"""A run as a peer of its hub: dashboards find it, watch it, and ask it for what they are allowed.

A dashboard that reads slowly misses updates and is then told everything anew; it holds up neither the run nor the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import Raw

from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, DirectReceived, Disconnected, GoingAway
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionProblem, OrchestratorError, PeerNotFound
from orchestrator.protocol.codes import Action
from orchestrator.protocol.dashboard import RUN, RUNS, RunAnswer, RunRequest, RunUpdate, Unwatch, Watch, decode_to_run
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.payloads import Wake
from orchestrator.protocol.tokens import Claims, Grants, mint
from orchestrator.runtime.presence_watch import TOKEN_LIFE
from orchestrator.runtime.run_feed import MAX_LOG, RunFeed
from orchestrator.runtime.run_outline import outline_of
from orchestrator.runtime.watcher import Watcher
from orchestrator.topology.references import ASKER
from orchestrator.topology.scopes import inbox_channel

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from orchestrator.client.events import ClientEvent
    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.gathered import Gathered
    from orchestrator.runtime.operator_wire import RunView
    from orchestrator.runtime.recent import Follower, Heard, Recent
    from orchestrator.runtime.run_desk import RunDesk
    from orchestrator.topology.plan import Plan

EVERY: Final = 0.25
"""Seconds between two updates, at least."""
MAX_WATCHERS: Final = 64
MAX_NEWCOMERS: Final = 64
"""Dashboards that wait until one of the watchers is found to be gone."""
MAX_REQUESTS: Final = 32
"""Requests that are being answered at a time."""
_OPERATOR: Final = f"{ASKER}/"
_INBOXES: Final = inbox_channel("*")


class RunPeer:
    """Of one run, over one connection. `run` it until the run ends."""

    def __init__(
        self,
        *,
        url: str,
        key: SecretKey,
        tls: ssl.SSLContext | None,
        plan: Callable[[], Plan],
        view: Callable[[], RunView],
        changed: Callable[[], Awaitable[None]],
        gathered: Gathered,
        watch: Callable[[bool], None],
        recent: Recent,
        desk: RunDesk,
    ) -> None:
        """`changed` returns when the standing of some replica may have changed; `watch` has figures come more often."""
        self._url, self._key, self._tls = url, key, tls
        self._plan, self._view, self._changed = plan, view, changed
        self._gathered, self._watch, self._recent, self._desk = gathered, watch, recent, desk
        self._instance = secrets.token_hex(8)  # several runs on one hub are several peers
        self._feed = RunFeed()
        self._dirty = asyncio.Event()
        self._watchers: dict[str, Watcher] = {}
        self._somebody = asyncio.Event()
        self._online = asyncio.Event()
        self._log_follower: Follower | None = None
        self._newcomers: dict[str, None] = {}
        """Those for whom there is no room among the watchers yet, in the order in which they came."""
        self._requests: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup
        self._client: Client
        self._log = structlog.get_logger("orchestrator.dashboard")

    @property
    def peer_id(self) -> str:
        return f"{RUN}/{self._instance}"

    async def run(self, leaving: asyncio.Event) -> None:
        """Serve dashboards until `leaving` is set. Raises `ConnectionProblem` when the hub cannot be reached any more."""
        policy = ReconnectPolicy(initial=0.2, max_attempts=None)
        self._client = Client(self._url, token_provider=self._token, reconnect=policy, tls=self._tls, daemon=True)
        try:
            async with self._client, asyncio.TaskGroup() as self._tasks:
                telling = self._tasks.create_task(self._tell(), name="dashboard updates")
                joining = self._tasks.create_task(self._join(), name="dashboard channel")
                parting = self._tasks.create_task(self._leave(leaving), name="end of dashboards")
                async for event in self._client.events():
                    self._take(event)
                for task in (
                    telling,
                    joining,
                    parting,
                    *self._requests,
                    *(each.task for each in self._watchers.values()),
                ):
                    task.cancel()
            if self._client.failure is not None:
                raise self._client.failure
        finally:
            self._watch(False)
            await self._desk.close()

    # -- the connection

    def _take(self, event: ClientEvent) -> None:
        match event:
            case Connected():
                self._online.set()
            case Disconnected() | GoingAway():
                self._online.clear()
            case DirectReceived(sender=sender, data=data):
                self._asked(sender, data)

    async def _leave(self, leaving: asyncio.Event) -> None:
        await leaving.wait()
        await self._client.close()

    async def _join(self) -> None:
        """Be listed among the runs; the client sees to it again after each reconnect."""
        while True:
            await self._online.wait()
            try:
                await self._client.subscribe(RUNS)
            except ConnectionProblem as error:
                self._log.debug("not listed among the runs yet", reason=str(error))
                await asyncio.sleep(EVERY)
            else:
                return

    def _asked(self, sender: str, data: Raw) -> None:
        try:
            message = decode_to_run(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._log.warning("a message to the run is none that it knows", sender=sender)
            return
        match message:
            case Watch():
                self._watched_by(sender)
            case Unwatch():
                self._forget(sender)
            case RunRequest():
                self._begin(sender, message)

    # -- who looks on

    def _watched_by(self, sender: str) -> None:
        watcher = self._watchers.get(sender)
        if watcher is None:
            if len(self._watchers) >= MAX_WATCHERS:
                self._wait_for_room(sender)
                return
            watcher = self._watchers[sender] = Watcher(sender)
            watcher.task = self._tasks.create_task(self._serve(watcher), name=f"dashboard {sender}")
        watcher.start_over()
        if not self._somebody.is_set():
            self._somebody.set()
            self._watch(True)

    def _wait_for_room(self, sender: str) -> None:
        """Say something to all watchers, since only then is it known which of them are gone."""
        if sender not in self._newcomers and len(self._newcomers) >= MAX_NEWCOMERS:
            self._log.warning("a dashboard is told nothing, because there are too many", sender=sender)
            return
        self._newcomers[sender] = None
        nothing = encode_json(RunUpdate(time.time()))
        for watcher in self._watchers.values():
            watcher.put(nothing)

    def _forget(self, sender: str) -> None:
        self._newcomers.pop(sender, None)
        watcher = self._watchers.pop(sender, None)
        if watcher is not None:
            watcher.task.cancel()
        self._note_left()

    def _note_left(self) -> None:
        if self._newcomers and len(self._watchers) < MAX_WATCHERS:
            sender = next(iter(self._newcomers))
            del self._newcomers[sender]
            self._watched_by(sender)
        if not self._watchers:
            self._somebody.clear()
            self._dirty.set()
            self._watch(False)

    async def _serve(self, watcher: Watcher) -> None:
        """Tell one dashboard what there is, in order, until it is gone."""
        while True:
            await watcher.news.wait()
            for message in watcher.take(self._beginning):
                await self._online.wait()
                try:
                    await self._client.send(watcher.peer, Raw(message), in_parts=True)
                except PeerNotFound:
                    if watcher.anew:  # it is back, and has asked again
                        break
                    self._watchers.pop(watcher.peer, None)
                    self._note_left()
                    return
                except ConnectionProblem as error:  # what it missed is in the next beginning
                    self._log.debug("a dashboard was not reached", reason=str(error))
                    await asyncio.sleep(EVERY)  # whatever it was, it may be there still
                    watcher.start_over()
                    break

    def _beginning(self, watcher: Watcher) -> list[bytes]:
        """Return what somebody is told who knows nothing. The others are told first what waits for them: it is in here."""
        if self._log_follower is not None:
            self._hear_log(self._log_follower.now())
        self._tell_all(asyncio.get_running_loop().time())
        view = self._view()
        plan = watcher.outlined = self._plan()
        outline = outline_of(plan, node=socket.gethostname(), began=view.began, admin=_may_change(watcher.peer))
        whole = self._feed.whole(time.time(), self._gathered.recent_tasks(), self._recent.tail((), MAX_LOG))
        return [encode_json(outline), encode_json(whole)]

    # -- what they are told

    async def _tell(self) -> None:
        """Tell whoever looks on what has happened, at most every so often; while nobody does, nothing is gathered."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._somebody.wait()
            self._feed.take(
                clock(), time.time()
            )  # what came while nobody looked is in the beginning that they are told
            async with asyncio.TaskGroup() as following:
                sources = [
                    following.create_task(self._follow_log(), name="log for dashboards"),
                    following.create_task(self._follow_replicas(), name="replicas for dashboards"),
                ]
                stop = self._gathered.listen(self._heard)
                try:
                    while self._somebody.is_set():
                        await self._next_turn()
                        self._tell_all(clock())
                finally:
                    stop()
                    for source in sources:
                        source.cancel()

    async def _next_turn(self) -> None:
        """Return when there is something to tell, and enough time has passed since the last time."""
        await asyncio.sleep(EVERY)
        wait = 1.0 if self._feed.owes_load else None  # an agent that has come to rest says nothing any more
        try:
            async with asyncio.timeout(wait):
                await self._dirty.wait()
        except TimeoutError:
            pass
        self._dirty.clear()

    def _tell_all(self, now: float) -> None:
        plan = self._plan()
        for watcher in self._watchers.values():
            if watcher.outlined is not None and watcher.outlined is not plan:
                watcher.start_over()
        self._feed.stands(self._view().replicas)
        update = self._feed.take(now, time.time())
        if update is not None:
            told = encode_json(update)
            for watcher in self._watchers.values():
                watcher.put(told)

    def _heard(self, peer: str, figures: Any) -> None:
        self._feed.heard(peer, peer.partition(".")[0], figures)
        self._dirty.set()

    async def _follow_log(self) -> None:
        with self._recent.follow() as self._log_follower:
            try:
                while True:
                    self._hear_log(await self._log_follower.next())
                    self._dirty.set()
                    await asyncio.sleep(EVERY)
            finally:
                self._log_follower = None

    def _hear_log(self, heard: Heard) -> None:
        self._feed.said(heard.records, heard.missed)

    async def _follow_replicas(self) -> None:
        while True:
            await self._changed()
            self._dirty.set()

    # -- what they ask for

    def _begin(self, sender: str, request: RunRequest) -> None:
        if len(self._requests) >= MAX_REQUESTS:
            answer = RunAnswer(request.id, error=f"{MAX_REQUESTS} requests are being answered already; try again")
            self._start(self._reply(sender, answer), limited=False)
        else:
            self._start(self._answer(sender, request), limited=True)

    def _start(self, work: Any, *, limited: bool) -> None:
        task = self._tasks.create_task(work, name="dashboard request")
        if limited:
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _answer(self, sender: str, request: RunRequest) -> None:
        try:
            reply = await self._desk.answer(request.do, request.arguments, admin=_may_change(sender))
            answer = RunAnswer(request.id, reply.result)
            await self._wake(reply.due)
        except OrchestratorError as error:
            answer = RunAnswer(request.id, error=str(error))
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends one request, and not the run's part in all others
            self._log.exception("a request of a dashboard could not be answered", exc_info=error)
            answer = RunAnswer(
                request.id, error=f"the run could not do that ({type(error).__name__}); its log says more"
            )
        await self._reply(sender, answer)

    async def _wake(self, queues: frozenset[str]) -> None:
        """Tell the workers that there is work; those who do not hear it look for it by themselves, a little later."""
        for replica in self._plan().replicas if queues else ():
            if replica.agent in queues and replica.inbox is not None:
                with contextlib.suppress(ConnectionProblem):
                    await self._client.publish(replica.inbox, Wake())

    async def _reply(self, sender: str, answer: RunAnswer) -> None:
        try:
            await self._client.send(sender, Raw(encode_json(answer)), in_parts=True)
        except ConnectionProblem as error:
            self._log.debug("a dashboard was not reached", reason=str(error))

    async def _token(self) -> str:
        claims = Claims(
            sub=self.peer_id,
            exp=int(time.time() + TOKEN_LIFE),
            channels=(RUNS, _INBOXES),
            permissions=frozenset({Action.SUBSCRIBE, Action.PRESENCE, Action.PUBLISH, Action.SEND}),
            peer_metadata=_described(self._plan()),
            grants=Grants(subscribe=(RUNS,), publish=(_INBOXES,), send=("**",)),
            instance=self._instance,
            rate="unlimited",
        )
        return mint(self._key, claims)


def _may_change(peer: str) -> bool:
    """Tell whether a peer is the built-in user, whose tokens only the key's holder can make; the hub vouches for the id."""
    return peer.startswith(_OPERATOR)


def _described(plan: Plan) -> Mapping[str, Any]:
    return {"kind": "run", "name": plan.name, "node": socket.gethostname()}
