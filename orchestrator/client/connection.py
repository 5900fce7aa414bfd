"""The reconnecting connection of an agent or a user to a hub: sockets, timers and tasks around a `Session`."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypeAlias

import structlog
from msgspec import Raw

from orchestrator.client.effects import Attempt, Drop, Effect, Noted, Request, Settled, State, Timeouts, Write
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from orchestrator.client.url import parse_origin
from orchestrator.client.wire import Wire, sentence
from orchestrator.errors import NotConnected
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.names import is_channel, is_peer_id, is_reserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType

    from orchestrator.client.events import ClientEvent
    from orchestrator.errors import ConnectionProblem

log: Final = structlog.get_logger(__name__)

WhenDisconnected: TypeAlias = Literal["fail", "wait"]


class Client:
    """One peer's connection to a hub, which comes back by itself after everything that coming back can heal.

    - What arrives waits in a bounded inbox for `events()`. Acks and heartbeats never wait behind it: when `inbox`
      events are waiting and one more comes, the connection is closed loudly (`Disconnected` with code 1008), and tried
      again once half of them have been taken. A program that subscribes has to take its events.
    - Requests may be made concurrently; their frames are written in the order of the calls. A request in flight when
      the connection ends fails at once with `ConnectionLost` (the hub may have processed it); one made without a
      connection fails with `NotConnected` (it never left), or waits, if it was asked to. The write buffer is bounded
      by the calls under way, each of which waits for its own ack.
    - Subscriptions are restored after each reconnect. Messages are delivered at most once.
    - Nothing that can be printed, logged or raised holds a credential.

    An object belongs to one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        token_provider: Callable[[], Awaitable[str]] | None = None,
        api_key: str | None = None,
        reconnect: ReconnectPolicy | None = None,
        daemon: bool = False,
        inbox: int = 10_000,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare a connection; nothing is opened yet.

        `token_provider` is awaited before every attempt, so it decides how fresh a token is. `daemon` retries the
        first connect like every other. `tls` replaces the system's certificates for ``wss://``.
        Raises `ValueError` for an address or credentials that cannot be used.
        """
        self._origin = parse_origin(url)
        if (token_provider is None) == (api_key is None):
            raise ValueError("a client connects with either a token_provider or an api_key, and not with both")
        if api_key is not None and not is_credential(api_key):
            raise ValueError("api_key is not a publishable key: it is a text without spaces, like pk_live_…")
        if inbox < 1:
            raise ValueError(f"inbox is a number of events of at least 1, not {inbox!r}")
        self._credential = _credential_source(token_provider, api_key)
        self._parameter = "key" if token_provider is None else "token"
        self._tls = tls
        self._session = Session(
            str(self._origin),
            reconnect or ReconnectPolicy(),
            rng or random.SystemRandom(),
            daemon=daemon,
            timeouts=timeouts,
            inbox_limit=inbox,
        )
        self._loop: asyncio.AbstractEventLoop
        self._told = State.IDLE
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._wires: dict[int, Wire] = {}
        self._waiting: dict[str, asyncio.Future[int | None]] = {}
        self._opening: asyncio.Future[None] | None = None
        self._hopeful: deque[asyncio.Future[None]] = deque()
        self._consumer: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        who = f"{self.peer_id!r} " if self.peer_id else ""
        return f"<Client {who}{self.state.value} at {self._origin}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds a live connection and a credential: it is neither copied nor pickled")

    @property
    def state(self) -> State:
        return self._session.state

    @property
    def peer_id(self) -> str | None:
        """Who this connection is, as the hub's latest welcome says; `None` before the first."""
        return self._session.peer_id

    @property
    def max_message_size(self) -> int:
        """Bytes of `data` that the hub accepts."""
        return self._session.max_message_size

    @property
    def failure(self) -> ConnectionProblem | None:
        """Why the connection ended for good; `None` while it has not, and after `close()`."""
        return self._session.failure

    # -- life

    async def connect(self) -> None:
        """Return once the hub has welcomed this client.

        Raises `TerminalDisconnect`, `HubUnreachable` or `TokenUnavailable` when the first attempt fails (`daemon`: when
        the last attempt that the policy allows has failed), `NotConnected` when the client is closed meanwhile, and
        `RuntimeError` when the client is neither new nor closed. Cancelling it closes the client.
        """
        self._loop = asyncio.get_running_loop()
        effects = self._session.start(self._loop.time())
        opening = self._opening = self._loop.create_future()
        self._apply(effects)
        try:
            await opening
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """End the connection for good, from anywhere, within about a second. Events not yet taken are dropped."""
        self._loop = asyncio.get_running_loop()
        self._apply(self._session.close())
        here = asyncio.current_task()
        ending: set[asyncio.Future[None]] = {task for task in self._attempts.values() if task is not here}
        ending |= {wire.gone for wire in self._wires.values()}
        if ending:
            await asyncio.wait(ending, timeout=self._session.timeouts.close)
        for wire in self._wires.values():
            wire.cut()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- requests

    async def subscribe(self, channel: str, *, include_sender_metadata: bool = False) -> None:
        """Return when the hub has acknowledged the subscription, which is restored after each reconnect.

        Also one that the hub refused, or did not answer, is asked for again then; `unsubscribe` forgets it. Raises
        `ValueError` for a name that cannot be one, `NotAuthorized`, `RequestRefused`, `NotConnected` (and then the
        subscription is not remembered), `ConnectionLost` or `AckTimeout`.
        """
        _check_channel(channel)
        await self._answer(self._session.subscribe(channel, include_sender_metadata, self._now()))

    async def unsubscribe(self, channel: str) -> None:
        """Forget a subscription, whatever happens next, and return when the hub has too. Raises like `subscribe`."""
        _check_channel(channel)
        await self._answer(self._session.unsubscribe(channel, self._now()))

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
    ) -> int | None:
        """Return when the hub has taken the message: the number of connections that it was queued to, if it says so.

        `data` is a JSON value, a msgspec struct, or `Raw` JSON, which goes out as it is. With `when_disconnected="wait"`
        a call without a connection waits up to `deadline` seconds (`None`: for ever) for one. Raises `ValueError` or
        `TypeError` for what cannot be sent, `PayloadTooLarge`, `NotConnected`, `ConnectionLost`, `AckTimeout`,
        `NotAuthorized` or `RequestRefused`.
        """
        _check_channel(channel)
        payload = _payload(data)
        if when_disconnected == "wait":
            await self._connection(deadline)
        return await self._answer(self._session.publish(channel, payload, self._now()))

    async def send(
        self,
        to: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
    ) -> None:
        """Return when the hub has taken the message for peer `to`. Like `publish`, and raises `PeerNotFound` too."""
        if not is_peer_id(to):
            raise ValueError(f"a peer id has 1 to 128 characters and no control characters, unlike {to!r}")
        payload = _payload(data)
        if when_disconnected == "wait":
            await self._connection(deadline)
        await self._answer(self._session.send(to, payload, self._now()))

    async def events(self) -> AsyncIterator[ClientEvent]:
        """Yield what happens, in order, to one consumer.

        Ends after the final `Disconnected`, or when the client is closed. A consumer may call every method of the
        client, `close` included.
        """
        session = self._session
        while True:
            while not session.inbox:
                if session.state is State.CLOSED:
                    return
                await self._something()
            event = session.inbox.popleft()
            if session.choked:
                self._apply(session.taken(self._now()))
            yield event

    async def _something(self) -> None:
        if self._consumer is not None:
            raise RuntimeError("events() has one consumer, and another one is waiting already")
        self._consumer = asyncio.get_running_loop().create_future()
        try:
            await self._consumer
        finally:
            self._consumer = None

    async def _answer(self, request: Request) -> int | None:
        """Write a request, within the caller's turn of the event loop, and wait for what the hub says."""
        answer: asyncio.Future[int | None] = self._loop.create_future()
        self._waiting[request.id] = answer
        self._wires[request.epoch].send(request.frame)
        self._set_timer()
        try:
            return await answer
        finally:
            self._waiting.pop(request.id, None)

    async def _connection(self, deadline: float | None) -> None:
        """Wait until there is a connection. Raises `NotConnected` when there is none in time, or never will be."""
        try:
            async with asyncio.timeout(deadline):
                while self.state in (State.CONNECTING, State.RECONNECTING):
                    hope: asyncio.Future[None] = self._loop.create_future()
                    self._hopeful.append(hope)
                    await hope
        except TimeoutError:
            why = self._session.why_not_connected()
            raise NotConnected(f"nothing was sent within {deadline:g} s: {why}") from None

    # -- what the session decides, done

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Settled(request, receivers, error):
                    self._settle(request, receivers, error)
                case Write(epoch, frame):
                    self._wires[epoch].send(frame)
                case Attempt(epoch):
                    task = self._attempts[epoch] = self._loop.create_task(self._attempt(epoch))
                    task.add_done_callback(partial(self._attempted, epoch))
                case Drop(epoch, code, reason):
                    self._drop(epoch, code, reason)
                case Noted(level, event, fields):
                    getattr(log, level)(event, **fields)
        self._tell()
        self._set_timer()

    def _settle(self, request: str, receivers: int | None, error: ConnectionProblem | None) -> None:
        answer = self._waiting.pop(request, None)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(receivers)
        else:
            answer.set_exception(error)

    def _drop(self, epoch: int, code: int, reason: str) -> None:
        if (task := self._attempts.get(epoch)) is not None:
            task.cancel()
        if (wire := self._wires.get(epoch)) is not None:
            wire.close(code, reason)

    def _tell(self) -> None:
        """Wake whoever waits for a change of state or for an event."""
        session = self._session
        if (
            self._consumer is not None
            and not self._consumer.done()
            and (session.inbox or session.state is State.CLOSED)
        ):
            self._consumer.set_result(None)
        if session.state is self._told:
            return
        self._told = session.state
        if session.state not in (State.CONNECTED, State.CLOSED):
            return
        while self._hopeful:
            hope = self._hopeful.popleft()
            if not hope.done():
                hope.set_result(None)
        opening, self._opening = self._opening, None
        if opening is None or opening.done():
            return
        if session.state is State.CONNECTED:
            opening.set_result(None)
        else:
            opening.set_exception(session.failure or NotConnected("the client was closed while it was connecting"))

    def _set_timer(self) -> None:
        """See to it that the session's clock is read no later than it asks; earlier costs nothing."""
        due = self._session.deadline()
        if self._timer is not None and (due is None or due < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._apply(self._session.tick(self._loop.time()))

    # -- one attempt

    async def _attempt(self, epoch: int) -> None:
        """Fetch a credential and open a socket; from there on the socket calls back."""
        session = self._session
        try:
            credential = await self._credential()
        except Exception as error:  # noqa: BLE001 - whatever a user's provider raises is a failed attempt, and is told
            problem: str | None = f"the token provider raised {type(error).__name__}"
        else:
            problem = None if is_credential(credential) else "the token provider returned something that is no token"
        if problem is not None:
            self._apply(session.token_failed(epoch, problem, self._now()))
            return
        session.dialing(epoch, self._now())
        self._set_timer()
        wire = Wire(
            self._origin.endpoint(self._parameter, credential),
            close_timeout=session.timeouts.close,
            on_text=partial(self._heard, epoch),
            on_end=partial(self._lost, epoch),
        )
        if self._origin.secure and self._tls is None:
            self._tls = ssl.create_default_context()
        self._wires[epoch] = wire
        wire.gone.add_done_callback(lambda _: self._wires.pop(epoch, None))
        try:
            secure = self._tls if self._origin.secure else None
            await self._loop.create_connection(lambda: wire, self._origin.host, self._origin.port, ssl=secure)
        except OSError as error:
            self._lost(epoch, CloseCode.ABNORMAL, sentence(error))
        finally:
            wire.abandon_unopened()

    def _attempted(self, epoch: int, task: asyncio.Task[None]) -> None:
        del self._attempts[epoch]
        if not task.cancelled():
            task.result()  # an unforeseen error reaches the event loop's handler; the welcome deadline ends the attempt

    def _lost(self, epoch: int, code: int, reason: str) -> None:
        self._apply(self._session.lost(epoch, code, reason, self._loop.time()))

    def _heard(self, epoch: int, text: str) -> None:
        effects = self._session.received(epoch, text, self._loop.time())
        if effects:
            self._apply(effects)
        elif self._consumer is not None and self._session.inbox and not self._consumer.done():
            self._consumer.set_result(None)


def is_credential(value: object) -> bool:
    """Tell whether `value` can be a token or a key at all: a printable ASCII text without spaces."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != "" and " " not in value


def _credential_source(
    provider: Callable[[], Awaitable[str]] | None, api_key: str | None
) -> Callable[[], Awaitable[Any]]:
    """Return what gives the credential of an attempt; a key is kept where no attribute shows it."""
    if provider is not None:
        return provider

    async def constant() -> str | None:
        return api_key

    return constant


def _check_channel(name: str) -> None:
    if not is_channel(name):
        raise ValueError(f"a channel name has 1 to 256 bytes and no control characters, unlike {name!r}")
    if is_reserved(name):
        raise ValueError(f"channel names that begin like {name[:11]!r} are reserved")


def _payload(data: object) -> Raw:
    return data if isinstance(data, Raw) else Raw(encode_json(data))
