"""What a client asks of a hub: requests and their answers, and subscriptions that outlive connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.client.effects import Effect, Noted, Request, Settled, Timeouts, Write
from orchestrator.client.events import SubscriptionLost
from orchestrator.client.requests import Pending, Requests, refusal
from orchestrator.client.subscriptions import REPLAYS, Subscriptions
from orchestrator.client.url import redact
from orchestrator.errors import ConnectionLost, ConnectionProblem, NotConnected, PayloadTooLarge
from orchestrator.protocol import frames
from orchestrator.protocol.codes import ErrorCode
from orchestrator.protocol.limits import MAX_MESSAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msgspec import Raw

_NOTHING: Final[tuple[Effect, ...]] = ()


class Exchange:
    """Makes requests on whichever connection there is, and settles them. The session says when there is one."""

    def __init__(self, hub: str, timeouts: Timeouts, tell: Callable[[SubscriptionLost], None]) -> None:
        """`tell` is called with what the program is to hear besides answers."""
        self.max_message_size = MAX_MESSAGE_SIZE
        self._hub, self._replay_delay = hub, timeouts.replay
        self._requests = Requests(timeouts.ack)
        self._tell = tell
        self._subscriptions = Subscriptions()

    # -- asking

    def subscribe(self, epoch: int, channel: str, include_sender_metadata: bool, now: float) -> Request:
        """Remember a subscription, then ask for it."""
        self._subscriptions.remember(channel, include_sender_metadata)
        return self._subscribe(epoch, channel, now)

    def forget(self, channel: str) -> None:
        self._subscriptions.forget(channel)

    def unsubscribe(self, epoch: int, channel: str, now: float) -> Request:
        return self._unsubscribe(epoch, channel, now)

    def publish(self, epoch: int, channel: str, data: Raw, message_id: str | None, now: float) -> Request:
        self._check_size(data)
        request_id = self._requests.open("publish", channel, now)
        return Request(request_id, epoch, frames.encode_json(frames.Publish(channel, data, request_id, message_id)))

    def send(self, epoch: int, to: str, data: Raw, message_id: str | None, now: float) -> Request:
        self._check_size(data)
        request_id = self._requests.open("send", to, now)
        return Request(request_id, epoch, frames.encode_json(frames.Send(to, data, request_id, message_id)))

    def _subscribe(self, epoch: int, channel: str, now: float, tries_left: int | None = None) -> Request:
        request_id = self._requests.open("subscribe", channel, now, tries_left)
        frame = frames.Subscribe(channel, request_id, self._subscriptions.wanted[channel])
        return Request(request_id, epoch, frames.encode_json(frame))

    def _unsubscribe(self, epoch: int, channel: str, now: float, tries_left: int | None = None) -> Request:
        request_id = self._requests.open("unsubscribe", channel, now, tries_left)
        self._subscriptions.asked_to_end(channel, request_id)
        return Request(request_id, epoch, frames.encode_json(frames.Unsubscribe(channel, request_id)))

    def _check_size(self, data: Raw) -> None:
        size = memoryview(data).nbytes
        if size > self.max_message_size:
            raise PayloadTooLarge(size, self.max_message_size)

    # -- answers

    def acknowledged(self, frame: frames.Ack) -> Sequence[Effect]:
        pending = self._requests.answered(frame.request_id)
        if pending is None:
            return _NOTHING
        if pending.kind == "subscribe":
            self._subscriptions.acknowledged(pending.subject)
        elif pending.kind == "unsubscribe":
            self._subscriptions.released(pending.subject, frame.request_id)
        return (Settled(frame.request_id, frame.receivers),) if pending.tries_left is None else _NOTHING

    def refused(self, frame: frames.Error, now: float) -> Sequence[Effect]:
        """Settle the request that an error answers; one that answers none is noted, `unknown_type` not even that."""
        if frame.request_id is None:
            if frame.code == ErrorCode.UNKNOWN_TYPE:
                return _NOTHING
            what = {"hub": self._hub, "code": frame.code, "message": redact(frame.message)}
            return (Noted("warning", "the hub reported an error", what),)
        pending = self._requests.answered(frame.request_id)
        if pending is None:
            return _NOTHING
        error = refusal(frame.code, redact(frame.message), pending.kind, pending.subject)
        return self._failed(frame.request_id, pending, error, now)

    def is_snapshot(self, channel: str) -> bool:
        """Tell whether a presence frame that arrives now holds the whole roster of its channel."""
        return self._subscriptions.is_snapshot(channel)

    def _failed(self, request_id: str, pending: Pending, error: ConnectionProblem, now: float) -> Sequence[Effect]:
        """End a request in an error; a replayed subscription is tried again later instead, a few times."""
        if pending.tries_left is None:
            return (Settled(request_id, error=error),)
        if pending.kind == "unsubscribe" or pending.subject not in self._subscriptions.wanted:
            return _NOTHING  # what is to end is asked for again on the next connection
        what = {"hub": self._hub, "channel": pending.subject, "error": str(error)}
        if pending.tries_left > 0:
            self._subscriptions.retry_at(now + self._replay_delay, pending.subject, pending.tries_left - 1)
            return (Noted("warning", "a subscription was not restored and will be tried again", what),)
        self._tell(SubscriptionLost(pending.subject, error))
        return (Noted("error", "a subscription could not be restored on this connection", what),)

    # -- connections and time

    def resume(self, epoch: int, now: float) -> list[Write]:
        """Ask for every remembered subscription again, on a new connection.

        Also for an end to those that the hub may have moved there from a connection whose end it had not noticed,
        with the last word on them unheard.
        """
        releases = [self._unsubscribe(epoch, channel, now, 0) for channel in self._subscriptions.forgotten]
        return [
            *(Write(epoch, release.frame) for release in releases),
            *(self._replay(epoch, channel, REPLAYS, now) for channel in self._subscriptions.wanted),
        ]

    def _replay(self, epoch: int, channel: str, tries_left: int, now: float) -> Write:
        return Write(epoch, self._subscribe(epoch, channel, now, tries_left).frame)

    @property
    def open(self) -> int:
        """How many requests the hub has not answered yet."""
        return len(self._requests)

    def continued(self) -> None:
        """Note that the hub has moved every subscription to another connection, and sends each roster on it anew."""
        self._subscriptions.continued()

    def withdraw(self, request_ids: Iterable[str], why: str) -> list[Settled]:
        """Fail requests that were never written."""
        withdrawn = [request_id for request_id in request_ids if self._requests.answered(request_id) is not None]
        return [Settled(request_id, error=NotConnected(f"nothing was sent: {why}")) for request_id in withdrawn]

    def ended(self, why: str) -> list[Settled]:
        """Fail every open request; what was subscribed to stays remembered."""
        self._subscriptions.disconnected()
        return self._requests.fail_all(ConnectionLost, why)

    def deadline(self) -> float | None:
        due = [when for when in (self._requests.deadline(), self._subscriptions.deadline()) if when is not None]
        return min(due, default=None)

    def tick(self, epoch: int, now: float) -> list[Effect]:
        """Fail what waited too long, and try again what is to be tried again."""
        effects: list[Effect] = []
        for request_id, pending, error in self._requests.expired(now):
            effects += self._failed(request_id, pending, error, now)
        for channel, tries_left in self._subscriptions.due(now):
            effects.append(self._replay(epoch, channel, tries_left, now))
        return effects
