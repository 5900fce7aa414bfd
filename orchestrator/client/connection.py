"""The reconnecting connection of an agent or a user to a hub."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NoReturn, Self, TypeAlias

from msgspec import Raw

from orchestrator.client.credentials import Credentials
from orchestrator.client.driver import Driver
from orchestrator.client.effects import State, Timeouts
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from orchestrator.client.url import parse_origin
from orchestrator.client.wire import Wire
from orchestrator.errors import AckTimeout, ConnectionLost, NotConnected
from orchestrator.patterns.parts import cut
from orchestrator.protocol.frames import encode_data
from orchestrator.protocol.limits import MAX_MESSAGE_ID, REPEAT_WINDOW
from orchestrator.protocol.names import is_channel, is_peer_id, is_reserved

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from orchestrator.client.effects import Request
    from orchestrator.client.events import ClientEvent
    from orchestrator.client.wire import WireFactory
    from orchestrator.errors import ConnectionProblem

WhenDisconnected: TypeAlias = Literal["fail", "wait"]
Ask: TypeAlias = "Callable[[Raw, float], Request]"
"""Makes a request of a payload, at a time."""
AskOf: TypeAlias = "Callable[[str, Raw, float], Request]"
"""The same for a channel, or a peer."""

PARTS_AT_ONCE: Final = 4
"""Parts of one payload that may wait for the hub's acks: 256 KiB, where a receiver that lags may queue 1 MiB."""

REPEATED_WITHIN: Final = REPEAT_WINDOW - 20.0
"""Seconds from a message's first writing within which it is written again. A hub knows its id for longer than that, so
that one which is long on its way is still known for a repetition when it gets there."""


class Client:
    """One peer's connection to a hub, which comes back by itself after everything that coming back can heal.

    - What arrives waits in a bounded inbox for `events()`. Acks and heartbeats never wait behind it: when `inbox`
      events are waiting and one more comes, the connection is closed loudly (`Disconnected` with code 1008), and tried
      again once half of them have been taken. A program that subscribes has to take its events.
    - Requests may be made concurrently; their frames are written in the order of the calls. A request in flight when
      the connection ends fails at once with `ConnectionLost` (the hub may have processed it); one made without a
      connection fails with `NotConnected` (it never left), or waits, if it was asked to. The write buffer is bounded
      by the calls under way, each of which waits for its own ack.
    - A hub ends a connection that writes more frames than its budget allows: 100 a second and 200 at once, or what its
      welcome grants. Requests wait for their turn so that it does not come to that.
    - Subscriptions are restored after each reconnect. Messages are delivered at most once, also those that are sent
      again under the `id` that they were given.
    - Nothing that can be printed, logged or raised holds a credential.

    An object belongs to one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_provider: Callable[[], Awaitable[str]] | None = None,
        api_key: str | None = None,
        reconnect: ReconnectPolicy | None = None,
        daemon: bool = False,
        inbox: int = 10_000,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
        rng: random.Random | None = None,
        make_wire: WireFactory = Wire,
    ) -> None:
        """Prepare a connection; nothing is opened yet.

        `token_provider` is awaited before every attempt, and once more before its token expires, when the connection is
        continued under a fresh one; a `token` that is given as a text is used until it expires, and then the client
        ends. `daemon` retries the first connect like every other. `tls` replaces the system's certificates for ``wss://``.
        `make_wire` makes something else of each connection than a WebSocket on a socket.
        Raises `ValueError` for an address or credentials that cannot be used.
        """
        self._origin = parse_origin(url)
        self._credentials = Credentials(token_provider, api_key, token)
        if inbox < 1:
            raise ValueError(f"inbox is a number of events of at least 1, not {inbox!r}")
        self._tls, self._make_wire = tls, make_wire
        self._session = Session(
            str(self._origin),
            reconnect or ReconnectPolicy(),
            rng or random.SystemRandom(),
            daemon=daemon,
            renews=self._credentials.renewable,
            timeouts=timeouts,
            inbox_limit=inbox,
        )
        self._lazy_driver: Driver | None = None
        self._one_in_parts = asyncio.Lock()

    @property
    def _driver(self) -> Driver:
        """Made when it is first needed, in the event loop that the client then belongs to."""
        if self._lazy_driver is None:
            self._lazy_driver = Driver(self._session, self._origin, self._credentials, self._tls, self._make_wire)
        return self._lazy_driver

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
    def short_of_messages(self) -> bool:
        """Whether requests wait for their turn, or soon will: the hub ends connections that write too many frames."""
        return self._driver.pacing.short

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
        self._driver.start()
        try:
            await self._driver.settled()
        except asyncio.CancelledError:
            await self.close()
            raise
        if self.state is State.CLOSED:
            raise self.failure or NotConnected("the client was closed while it was connecting")

    async def close(self) -> None:
        """End the connection for good, from anywhere, within about a second. Events not yet taken are dropped."""
        await self._driver.close()

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
        await self._driver.pacing.turn()
        await self._driver.answer(self._session.subscribe(channel, include_sender_metadata, self._driver.now))

    async def unsubscribe(self, channel: str) -> None:
        """Forget a subscription, whatever happens next, and return when the hub has too. Raises like `subscribe`."""
        _check_channel(channel)
        self._session.exchange.forget(channel)
        await self._driver.pacing.turn()
        await self._driver.answer(self._session.unsubscribe(channel, self._driver.now))

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> int | None:
        """Return when the hub has taken the message: the number of connections it was queued to, if the hub tells.

        `data` is anything that becomes JSON; a `msgspec.Raw` goes out as it is. With `when_disconnected="wait"`
        a call without a connection waits up to `deadline` seconds (`None`: for ever) for one. `in_parts`: what is too
        large for one message, up to 8 MiB, goes in several, which clients of this package join again and others do
        not; one such payload is under way at a time.

        `id`, of 1 to 128 characters, names the message among those of this peer: a hub of this package takes a repetition
        within 120 seconds for what it is, acks it as it did the first, and delivers nothing. So after `ConnectionLost` or
        `AckTimeout` the same call may be made again; with `when_disconnected="wait"` it makes itself again, until
        `deadline`, for at most 100 seconds from when it was first written, and while this peer keeps its peer id, which a
        publishable key does not. Other services, and a hub that was restarted meanwhile, deliver the repetition too.
        What goes in parts has no `id`.

        Raises `ValueError` or `TypeError` for what cannot be sent, `PayloadTooLarge`, `NotConnected`, `ConnectionLost`,
        `AckTimeout`, `NotAuthorized` or `RequestRefused`.
        """
        _check_channel(channel)
        _check_id(id, in_parts)
        _check_wish(when_disconnected)
        payload = payload_of(data)
        if when_disconnected == "fail" and not in_parts:
            await self._driver.pacing.turn()
            return await self._driver.answer(self._session.publish(channel, payload, self._driver.now, id))
        ask = partial(self._session.publish, channel, message_id=id)
        return await self._delivered(ask, payload, when_disconnected, deadline, in_parts, repeats=id is not None)

    async def send(
        self,
        to: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> None:
        """Return when the hub has taken the message for peer `to`. Like `publish`, and raises `PeerNotFound` too."""
        _check_peer(to)
        _check_id(id, in_parts)
        _check_wish(when_disconnected)
        payload = payload_of(data)
        if when_disconnected == "fail" and not in_parts:
            await self._driver.pacing.turn()
            await self._driver.answer(self._session.send(to, payload, self._driver.now, id))
        else:
            ask = partial(self._session.send, to, message_id=id)
            await self._delivered(ask, payload, when_disconnected, deadline, in_parts, repeats=id is not None)

    def publish_now(self, channel: str, data: object) -> asyncio.Future[int | None] | None:
        """Write a message before this returns; the future holds the hub's answer, or what `publish` raises for it.

        `None`: nothing was written, because it has to wait for its turn, or is too large for one message. Raises what
        `publish` raises for what cannot be sent, and `NotConnected`.
        """
        _check_channel(channel)
        return self._now(self._session.publish, channel, payload_of(data))

    def send_now(self, to: str, data: object) -> asyncio.Future[int | None] | None:
        """Write a message for one peer before this returns. Like `publish_now`."""
        _check_peer(to)
        return self._now(self._session.send, to, payload_of(data))

    def _now(self, ask: AskOf, subject: str, data: Raw) -> asyncio.Future[int | None] | None:
        driver = self._driver
        if memoryview(data).nbytes > self._session.max_message_size or not driver.pacing.taken():
            return None
        return driver.asked(ask(subject, data, driver.now))

    async def events(self) -> AsyncIterator[ClientEvent]:
        """Yield what happens, in order, to one consumer.

        Ends after the final `Disconnected`, or when the client is closed. A consumer may call every method of the
        client, `close` included.
        """
        while (event := await self._driver.event()) is not None:
            yield event

    async def _delivered(
        self,
        ask: Ask,
        data: Raw,
        when_disconnected: WhenDisconnected,
        deadline: float | None,
        in_parts: bool,
        *,
        repeats: bool,
    ) -> int | None:
        async def deliver() -> int | None:
            if in_parts and memoryview(data).nbytes > self.max_message_size:
                return await self._in_parts(ask, data)
            await self._driver.pacing.turn()
            return await self._driver.answer(ask(data, self._driver.now))

        return await (deliver() if when_disconnected == "fail" else self._when_connected(deliver, deadline, repeats))

    async def _in_parts(self, ask: Ask, data: Raw) -> int | None:
        """Have the hub take a few parts at a time, so that they fit into the queues of those who receive them."""
        reached: list[int | None] = []
        async with self._one_in_parts:
            parts = cut(data, self.max_message_size, secrets.token_hex(8))
            for few in (parts[n : n + PARTS_AT_ONCE] for n in range(0, len(parts), PARTS_AT_ONCE)):
                for _ in few:
                    await self._driver.pacing.turn()
                now = self._driver.now
                asked = [self._driver.asked(request) for request in [ask(part, now) for part in few]]
                for answer in await asyncio.gather(*asked, return_exceptions=True):
                    if isinstance(answer, BaseException):
                        raise answer
                    reached.append(answer)
        return min((count for count in reached if count is not None), default=None)

    async def _when_connected(
        self, deliver: Callable[[], Awaitable[int | None]], deadline: float | None, repeats: bool
    ) -> int | None:
        """Make a request on the first connection there is, unless none is to be hoped for, or in time.

        `repeats`: make it again when nobody knows whether the hub has taken it, as long as the hub, which knows it by
        its sender and its id, takes it for a repetition then. When that ends, the call raises why nobody knows.
        """
        ends = math.inf if deadline is None else self._driver.now + deadline
        unsure: ConnectionProblem | None = None
        sender: str | None = None
        while True:
            try:
                async with asyncio.timeout_at(ends if ends < math.inf else None):
                    await self._driver.settled()
            except TimeoutError:
                why = self._session.why_not_connected()
                raise unsure or NotConnected(f"nothing was sent within {deadline:g} s: {why}") from None
            if unsure is None:
                written, sender = self._driver.now, self.peer_id
            elif self.peer_id != sender or self._driver.now >= ends:
                raise unsure
            try:
                return await deliver()
            except NotConnected as error:  # it waited to be written, and the connection ended first: nothing was sent
                if self.state in (State.IDLE, State.CLOSED):
                    raise unsure or error from None
            except (ConnectionLost, AckTimeout) as error:
                if not repeats:
                    raise
                if unsure is None:
                    ends = min(written + REPEATED_WITHIN, ends)
                unsure = error


def _check_channel(name: object) -> None:
    if not isinstance(name, str) or not is_channel(name):
        raise ValueError(f"a channel name has 1 to 256 bytes and no control characters, unlike {name!r}")
    if is_reserved(name):
        raise ValueError(f"channel names that begin like {name[:11]!r} are reserved")


def _check_peer(name: object) -> None:
    if not isinstance(name, str) or not is_peer_id(name):
        raise ValueError(f"a peer id has 1 to 128 characters and no control characters, unlike {name!r}")


def _check_id(message_id: object, in_parts: bool) -> None:
    if message_id is None:
        return
    if in_parts:
        raise ValueError("a message with an id goes whole: leave out either `id` or `in_parts`")
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_MESSAGE_ID:
        raise ValueError(f"the id of a message is a text of 1 to {MAX_MESSAGE_ID} characters, unlike {message_id!r}")


def _check_wish(when_disconnected: str) -> None:
    if when_disconnected not in ("fail", "wait"):
        raise ValueError(f"when_disconnected is 'fail' or 'wait', not {when_disconnected!r}")


def payload_of(data: object) -> Raw:
    return data if isinstance(data, Raw) else encode_data(data)
