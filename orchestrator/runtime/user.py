"""`orchestrator.connect`: people and programs outside a topology, who ask its agents and speak on its channels."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.client.connection import Client
from orchestrator.client.events import (
    Connected,
    DirectReceived,
    Disconnected,
    MessageReceived,
    PresenceReceived,
    SubscriptionLost,
)
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import NotConnected
from orchestrator.protocol.payloads import decode_payload
from orchestrator.runtime.dispatching import LEVELS
from orchestrator.runtime.feed import Feed, Listeners
from orchestrator.runtime.questions import Questions
from orchestrator.runtime.roster_view import RosterView
from orchestrator.runtime.subscription import Channels, Message, Subscription
from orchestrator.runtime.user_events import Missed, UserEvent, told
from orchestrator.runtime.user_link import UserLink

if TYPE_CHECKING:
    import ssl

    from orchestrator.client.connection import WhenDisconnected
    from orchestrator.client.effects import State

__all__ = ["ReconnectPolicy", "User", "connect"]

WARNING: Final = LEVELS["warning"]
GOODBYE_SECONDS: Final = 1.0
"""How long leaving waits for the hub to take the cancellations of what is still under way."""
BUFFER: Final = 1_000
"""Messages or events that wait for a reader before it counts as too slow; of messages, 64 MiB at the very most."""
CHANGES: Final = 10_000
"""Joins and leaves that wait for a reader: after a reconnect many may come at once."""


class User(Questions):
    """A connection to a hub on which agents are asked, and channels are spoken and listened to.

    It comes back by itself after everything that coming back can heal. Whatever is begun after it was closed, or
    after its connection ended for good, raises `NotConnected` with the reason, and questions raise the reason itself.
    Messages are delivered at most once; a question ends in its answer or in an error.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._link = client, UserLink(client)
        super().__init__(self._link)
        self._channels = Channels(self._link, self._check, self._too_slow)
        self._events: Listeners[UserEvent] = Listeners(self._check)
        self._directs: Listeners[Message] = Listeners(self._check)
        self._log = structlog.get_logger("orchestrator.user")
        self._unread_told = False
        self._welcomed = asyncio.Event()
        self._closing = asyncio.Lock()
        self._closed = False

    def __repr__(self) -> str:
        who = f" {self._client.peer_id!r}" if self._client.peer_id else ""
        return f"<User{who}{' closed' if self._closed else ''}>"

    @property
    def peer_id(self) -> str:
        """Who this connection is. Raises `NotConnected` before the first welcome."""
        if self._client.peer_id is None:
            raise NotConnected("there was no welcome from the hub yet")
        return self._client.peer_id

    @property
    def state(self) -> State:
        """`connected`, `reconnecting` or `closed`; it compares equal to these texts."""
        return self._client.state

    # -- speaking

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - the protocol's word
    ) -> int | None:
        """Return when the hub has taken a message: how many connections it was queued to, `None` if the hub does not say.

        `data` is any JSON value or a pydantic model, whose fields go by their aliases. Without a connection the call
        fails at once, or waits up to `deadline` seconds (`None`: for ever) for one with `when_disconnected="wait"`.
        `in_parts`: what is too large for one message, up to 8 MiB, goes in several, which agents and users of this
        package get as one, and stock clients do not understand. `id` names the message among this user's: whoever
        repeats it under the same one, because nobody knows whether it was taken, has it delivered once (for 120 s, by
        a hub of this package); with ``"wait"`` the call repeats it by itself.
        Raises `NotAuthorized`, which names the missing scope; `NotConnected`: nothing was sent; `ConnectionLost` or
        `AckTimeout`: it may or may not have been; `PayloadTooLarge`, `RequestRefused`; `ValueError` or `TypeError` for
        what cannot be sent at all.
        """
        self._check()
        return await self._link.publish(
            channel, data, when_disconnected=when_disconnected, deadline=deadline, in_parts=in_parts, id=id
        )

    async def send(
        self,
        peer: str,
        data: object,
        *,
        when_disconnected: WhenDisconnected = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - the protocol's word
    ) -> None:
        """Return when the hub has taken a message for one peer. Like `publish`, and raises `PeerNotFound` too."""
        self._check()
        await self._link.send(
            peer, data, when_disconnected=when_disconnected, deadline=deadline, in_parts=in_parts, id=id
        )

    # -- listening

    def subscribe(self, channel: str, *, include_sender_metadata: bool = False, buffer: int = BUFFER) -> Subscription:
        """Return the messages of a channel, or of every channel that a pattern like ``fleet/*`` matches.

        To be entered with `async with`, or iterated alone; entering returns when the hub has acknowledged, and leaving
        unsubscribes, unless another subscription of this user is to the same name. `buffer` messages wait to be read;
        when it is full nothing is kept until its reader has caught up, which then gets `SubscriberTooSlow` with the
        number missed. Others are not held up. Entering raises what `publish` raises.
        """
        return Subscription(self._channels, channel, buffer, include_sender_metadata=include_sender_metadata)

    def presence(self, channel: str, *, kind: str | None = None, buffer: int = CHANGES) -> RosterView:
        """Return who is on a channel. To be entered with `async with`, which waits for the first roster.

        `kind` keeps only peers of that kind, like ``agent``; `None` keeps all. The user itself is listed to the others,
        unless its token lets it only observe. Of joins and leaves, `buffer` wait to be read, if they are read at all.
        Entering raises what `publish` raises, `NotAuthorized` also when the token does not let it see presence.
        """
        return RosterView(self._channels, channel, buffer, kind, self._wall_offset())

    def directs(self, *, buffer: int = BUFFER) -> Feed[Message]:
        """Return what is sent to this user from now on and is no answer to a question that it asked.

        To be entered with `async with`, or iterated alone. Each of several readers gets all. What comes while nobody
        reads is not kept; that is logged, once.
        """
        return Feed(self._directs, "the directs of this user", buffer)

    def events(self, *, buffer: int = BUFFER) -> Feed[UserEvent]:
        """Return what happens to the connection from now on: `Connected`, `Disconnected` (`code`, `will_reconnect`),
        `Reconnecting`, `GoingAway`, `TokenFailed` and `Missed`.

        To be entered with `async with`, or iterated alone. Each of several readers gets all.
        """
        return Feed(self._events, "the events of this user", buffer)

    # -- life

    async def close(self) -> None:
        """End the connection, as leaving the block does; a second time it does nothing.

        What is under way is cancelled (`TaskCancelled`), and whoever waits for a message, a change or an event reads
        what had come before and then no more.
        """
        self._closed = True
        await self._close()

    async def _close(self) -> None:
        async with self._closing:
            self._end_feeds()
            try:
                await self._cancel_all(GOODBYE_SECONDS)
            finally:  # also when leaving is cancelled: no connection outlives its block
                try:
                    await self._client.close()
                finally:
                    await self._courier.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NotConnected("this user was closed, so nothing was sent: connect() makes another one")

    def _check(self) -> None:
        self._check_open()
        if self._failure is not None and self._client.failure is not None:
            raise NotConnected(f"the connection of this user has ended, so nothing was sent: {self._failure}")

    # -- what the connection says

    async def _follow(self) -> None:
        """Hand what the connection says to whom it concerns, until it ends for good."""
        async for event in self._client.events():
            full = False
            match event:
                case MessageReceived():
                    full = self._channels.message(event)
                case DirectReceived():
                    full = self._direct(event)
                case PresenceReceived():
                    self._channels.presence(event)
                case Connected(metadata=metadata):
                    self._answers_come(metadata or {})
                    self._welcomed.set()
                case SubscriptionLost(channel=channel, error=error):
                    self._channels.lost(channel, error)
                case Disconnected():
                    self._answers_stop()
                    self._channels.disconnected()
                case _:
                    pass
            for news in told(event):
                self._events.tell(news)
            if isinstance(event, Connected) and event.resumed:
                for channel in self._channels.subscribed():
                    self._events.tell(Missed(channel, "disconnected"))
            if full:
                await asyncio.sleep(0)  # many arrive in one read: a reader that keeps up misses none of them
        self._end_feeds()
        self._answers_end(self._client.failure or NotConnected("the connection was closed"))

    def _direct(self, event: DirectReceived) -> bool:
        payload = decode_payload(event.data)
        if payload is not None and self._answer(event.sender, payload):
            return False
        if not self._directs and not self._unread_told:
            self._unread_told = True
            self._log.warning("a message came to a user that reads no directs, and was not kept", sender=event.sender)
        return self._directs.tell(Message("", event.sender, event.data, event.metadata))

    def _too_slow(self, channel: str) -> None:
        self._log.warning("a subscription is read too slowly, and misses messages", channel=channel)
        self._events.tell(Missed(channel, "slow"))

    def _end_feeds(self) -> None:
        failure = self._client.failure
        for readers in (self._channels, self._directs, self._events):
            readers.end(failure)


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    token_provider: Callable[[], Awaitable[str]] | None = None,
    api_key: str | None = None,
    reconnect: ReconnectPolicy | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[User]:
    """Connect to a hub as a user, for as long as the block runs.

    Exactly one of `token`, `token_provider` (asked before every attempt to connect, and once more before a token
    expires) and `api_key` (a publishable key) is given; when a `token` has expired, the connection ends for good with
    `TokenUnavailable`. `reconnect` says how a lost connection
    is tried again, `tls` which certificates are trusted for ``wss://`` instead of the system's.
    Raises `ValueError` for an address or credentials that cannot be used, and `TerminalDisconnect`, `HubUnreachable` or
    `TokenUnavailable` if the first attempt fails. Where the program has not configured structlog, warnings and errors
    of the connection go to standard error, and nothing else is logged.
    """
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
    client = Client(url, token=token, token_provider=token_provider, api_key=api_key, reconnect=reconnect, tls=tls)
    del token, api_key  # tools that show the locals of a traceback would show them while the block runs
    try:
        await client.connect()
    except BaseException:
        await client.close()  # also of the socket of an attempt that the hub has refused
        raise
    user = User(client)
    following = asyncio.create_task(user._follow(), name="user")
    try:
        await user._welcomed.wait()
        yield user
    finally:
        try:
            await user.close()
        finally:
            await following
