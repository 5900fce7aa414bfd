"""Subscriptions of a user: whatever shares a channel shares the hub's one subscription to it, and each gets every message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from msgspec import UNSET, Raw, UnsetType
from pydantic import TypeAdapter

from orchestrator.client.events import MessageReceived, PresenceReceived
from orchestrator.errors import ConnectionProblem
from orchestrator.protocol.frames import JsonObject
from orchestrator.protocol.globs import compiled, has_star
from orchestrator.protocol.payloads import plain
from orchestrator.runtime.feed import Feed, Room, Source
from orchestrator.runtime.user_link import UserLink

T = TypeVar("T")


class Message:
    """Something that a peer published to a channel, or sent to this user."""

    __slots__ = ("_data", "_raw", "channel", "metadata", "sender")

    def __init__(self, channel: str, sender: str, raw: Raw, metadata: JsonObject | None) -> None:
        self.channel = channel
        """The concrete name, also where a pattern was subscribed to; empty for a message that was sent to this user."""
        self.sender = sender
        """The peer id of whoever it is from, as stamped by the hub."""
        self.metadata = metadata
        """What the sender's token says of it publicly; `None` if it says nothing, or was not asked for."""
        self._raw = raw
        self._data: Any | UnsetType = UNSET

    def __repr__(self) -> str:
        where = f"on {self.channel!r} " if self.channel else ""
        return f"<Message {where}from {self.sender!r}: {memoryview(self._raw).nbytes} bytes>"

    @property
    def data(self) -> Any:
        """The JSON value, decoded when it is first asked for."""
        if self._data is UNSET:
            self._data = plain(self._raw)
        return self._data

    def read(self, model: type[T]) -> T:
        """Return the message as a pydantic model, or as any other type that pydantic can validate.

        Raises pydantic's `ValidationError` for one that does not fit.
        """
        kind: Any = model
        adapter: TypeAdapter[T] = _adapter(kind)
        return adapter.validate_json(bytes(self._raw))


@lru_cache(maxsize=256)
def _adapter(model: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(model)


class Reader(Protocol):
    """Whoever is told what arrives on one channel."""

    channel: str
    include_sender_metadata: bool

    async def ready(self) -> None:
        """Wait for what a reader needs beyond the hub's acknowledgement."""

    def message(self, event: MessageReceived, /) -> Room: ...
    def presence(self, event: PresenceReceived, /) -> None: ...
    def disconnected(self) -> None: ...
    def end(self, failure: ConnectionProblem | None) -> None: ...


class Subscription(Feed[Message]):
    """The messages of a channel, or of all channels that a pattern matches, from when it was entered.

    The one who publishes does not get its own message. What is published while the connection is down does not come:
    reading goes on after the reconnect, and `gaps` has grown.
    """

    def __init__(self, source: Source, channel: str, limit: int, *, include_sender_metadata: bool) -> None:
        super().__init__(source, f"the subscription to {channel!r}", limit)
        self.channel, self.include_sender_metadata = channel, include_sender_metadata
        self.gaps = 0
        """How often the connection was lost while this was open: each time, messages may have been missed."""

    async def ready(self) -> None:
        return

    def message(self, event: MessageReceived) -> Room:
        metadata = event.metadata if self.include_sender_metadata else None
        return self.put(Message(event.channel, event.sender, event.data, metadata))

    def presence(self, _event: PresenceReceived) -> None:
        return

    def disconnected(self) -> None:
        self.gaps += 1


class Channels:
    """The readers of one user by channel. The hub's subscription begins with the first of them and ends with the last."""

    def __init__(self, link: UserLink, check: Callable[[], None], slow: Callable[[str], None]) -> None:
        """`check` raises where nothing can be subscribed to any more; `slow` hears of the channel of a full reader."""
        self._link, self._check, self._slow = link, check, slow
        self._readers: dict[str, list[Reader]] = {}

    async def opened(self, feed: Reader) -> None:
        self._check()
        readers = self._readers.setdefault(feed.channel, [])
        readers.append(feed)
        metadata = any(reader.include_sender_metadata for reader in readers)
        try:
            # Also for the second reader: the options may differ, it needs a roster of its own, and it hears a refusal.
            await self._link.subscribe(feed.channel, include_sender_metadata=metadata)
            await feed.ready()
        except ValueError:
            self._forget(feed)
            raise
        except BaseException:
            await self.closed(feed)
            raise

    async def closed(self, feed: Reader) -> None:
        """Let go of a reader. That the hub does not hear of it matters to nobody: what still comes finds no reader."""
        if self._forget(feed):
            with suppress(ConnectionProblem):
                await self._link.unsubscribe(feed.channel)

    def _forget(self, feed: Reader) -> bool:
        """Take a reader off its channel; tell whether it was the last one there."""
        readers = self._readers.get(feed.channel, [])
        if feed in readers:
            readers.remove(feed)
            if not readers:
                del self._readers[feed.channel]
                return True
        return False

    # -- what the connection says

    def message(self, event: MessageReceived) -> bool:
        """Give a message to all that read its channel; tell whether one is full now, and is to have a turn."""
        full = False
        for name, readers in self._readers.items():
            if name == event.channel or (has_star(name) and compiled(name).matches(event.channel)):
                for reader in readers:
                    room = reader.message(event)
                    full = full or room is Room.FULL
                    if room is Room.OVERRUN:
                        self._slow(name)
        return full

    def presence(self, event: PresenceReceived) -> None:
        for reader in self._readers.get(event.channel, ()):
            reader.presence(event)

    def disconnected(self) -> None:
        for reader in self._all():
            reader.disconnected()

    def end(self, failure: ConnectionProblem | None) -> None:
        for reader in self._all():
            reader.end(failure)

    def lost(self, channel: str, failure: ConnectionProblem) -> None:
        """End the readers of a channel that the hub does not let this user back on."""
        for reader in list(self._readers.get(channel, ())):
            reader.end(failure)

    def subscribed(self) -> list[str]:
        """Return the names and patterns whose messages somebody reads."""
        return [name for name, readers in self._readers.items() if any(isinstance(r, Subscription) for r in readers)]

    def _all(self) -> Iterator[Reader]:
        for readers in self._readers.values():
            yield from readers
