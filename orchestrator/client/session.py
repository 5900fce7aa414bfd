"""The state machine of a client: frames, clock readings and randomness in; frames, events and decisions out.

It touches no socket and no clock. Times are readings of one monotonic clock, in seconds. Whoever owns the sockets
calls it, carries out the effects that it returns, in order, and calls `tick` at `deadline`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Raw

from orchestrator.client.budget import Budget
from orchestrator.client.effects import Ask, Attempt, Drop, Effect, Noted, Request, State, Timeouts, Write
from orchestrator.client.events import (
    ClientEvent,
    Connected,
    Disconnected,
    TokenFailed,
)
from orchestrator.client.exchange import Exchange
from orchestrator.client.intake import Intake
from orchestrator.client.renewal import Renewal
from orchestrator.client.url import redact
from orchestrator.errors import (
    ConnectionProblem,
    HubUnreachable,
    NotConnected,
    TerminalDisconnect,
    TokenUnavailable,
)
from orchestrator.protocol import frames
from orchestrator.protocol.codes import CloseCode, closing

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from orchestrator.client.policy import ReconnectPolicy

TOKEN_FAILURES_REPORTED: Final = 3
"""Consecutive failures of the token provider from which on each is an event."""

_PING: Final = frames.encode_json(frames.Ping())
_NOTHING: Final[tuple[Effect, ...]] = ()


@dataclass(slots=True)
class Link:
    """One attempt to connect and, if it succeeds, the connection. What arrives under another epoch is not for it."""

    epoch: int
    deadline: float
    """For the step under way: the credential, then the welcome."""
    dialing: bool = False
    welcomed: float | None = None
    heard: float = 0.0
    pinged: float = 0.0


class Session:
    """`idle → connecting → connected ⇄ reconnecting → closed`; `start` begins anew from `closed`.

    Events wait in `inbox`, which holds `inbox_limit` of them. One frame more and the connection is dropped, loudly
    (`Disconnected` with code 1008): reading on without room would lose frames silently, and not reading on would hold
    up answers and heartbeats. The next attempt then waits until half of the inbox has been taken.
    """

    def __init__(
        self,
        hub: str,
        policy: ReconnectPolicy,
        rng: random.Random,
        *,
        daemon: bool = False,
        renews: bool = True,
        timeouts: Timeouts | None = None,
        inbox_limit: int = 10_000,
    ) -> None:
        """`renews`: a credential that expires can be replaced by a fresh one."""
        self.state = State.IDLE
        self.failure: ConnectionProblem | None = None
        """Why the session ended for good; `None` when it did not, or was closed by its owner."""
        self.peer_id: str | None = None
        self.timeouts = timeouts or Timeouts()
        self.budget = Budget()
        """The frames that the connection may still write, as whoever writes them counts them."""
        self.choked = False
        """The inbox was full: `taken` is to be called once half of it is free."""
        self.hub = hub
        self.link: Link | None = None
        """The connection, or the attempt to make one. For the parts of the session, like the names up to `_policy`."""
        self._intake = Intake(hub, inbox_limit, lambda channel: self.exchange.is_snapshot(channel))
        self.inbox: deque[ClientEvent] = self._intake.inbox
        self.exchange = Exchange(hub, self.timeouts, self.inbox.append)
        self._policy, self._rng, self._daemon, self._renews = policy, rng, daemon, renews
        self._epoch = 0
        self._renewal = Renewal(self, rng)
        self._begin_again()

    def _begin_again(self) -> None:
        self._attempt = 0
        self._token_failures = 0
        self._intake.retry_after = 0.0
        self._next_attempt: float | None = None
        self._begun: deque[float] = deque(maxlen=self._policy.per_minute)
        self._was_connected = False

    @property
    def inbox_limit(self) -> int:
        return self._intake.limit

    @property
    def max_message_size(self) -> int:
        """Bytes of `data` that the hub accepts, as its latest welcome says."""
        return self.exchange.max_message_size

    # -- connecting

    def start(self, now: float) -> Sequence[Effect]:
        """Begin the first attempt. Raises `RuntimeError` unless the session is idle or closed."""
        if self.state not in (State.IDLE, State.CLOSED):
            raise RuntimeError(f"connect() was called on a client that is {self.state.value} already")
        self._begin_again()
        self.exchange = Exchange(self.hub, self.timeouts, self.inbox.append)
        self.inbox.clear()
        self.choked, self.failure, self.peer_id = False, None, None
        self.state = State.CONNECTING
        return self._begin_attempt(now)

    def _begin_attempt(self, now: float) -> Sequence[Effect]:
        self._next_attempt = None
        self._attempt += 1
        self._begun.append(now)
        self.link = Link(self.next_epoch(), deadline=now + self.timeouts.token)
        return (Attempt(self.link.epoch),)

    def next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def replaced(self, epoch: int, now: float, *, welcomed: bool = False, stable: bool = False) -> Drop:
        """Put another connection in the place of the one that there is, and return what ends that.

        `stable`: it counts as the same one, so that its age goes on.
        """
        before = self.link
        assert before is not None
        self.link = Link(epoch, deadline=now + self.timeouts.welcome, dialing=True, heard=now, pinged=now)
        if welcomed:
            self.link.welcomed = before.welcomed if stable else now
            self._intake.retry_after = 0.0  # what the hub said of the connection before
        else:
            self._attempt = 1
        return Drop(before.epoch, CloseCode.NORMAL, "")

    def dialing(self, epoch: int, now: float) -> bool:
        """Note that this attempt has its credential and wants a socket; tell whether it is still wanted itself."""
        link = self._current(epoch)
        if link is not None:
            link.dialing, link.deadline = True, now + self.timeouts.welcome
        elif not self._renewal.dialing(epoch, now):
            return False
        self._token_failures = 0
        return True

    def opened(self, epoch: int, now: float) -> Sequence[Effect]:
        """Note that the socket of this epoch is open."""
        if self._renewal.has(epoch):
            return self._renewal.opened(now)
        return _NOTHING if self._current(epoch) is None else (Ask(epoch),)

    def token_failed(self, epoch: int, reason: str, now: float) -> Sequence[Effect]:
        """Give up an attempt for want of a token. `reason` holds no secret."""
        renewing = self._renewal.has(epoch)
        if not renewing and self._current(epoch) is None:
            return _NOTHING
        self._token_failures += 1
        if self._token_failures >= TOKEN_FAILURES_REPORTED:
            self.inbox.append(TokenFailed(self._token_failures, reason))
        if renewing:
            return self._renewal.failed(reason, now)
        return self.ended(CloseCode.ABNORMAL, reason, now, TokenUnavailable(f"no token to connect with: {reason}"))

    def lost(self, epoch: int, code: int, reason: str, now: float) -> Sequence[Effect]:
        """Note that the socket of this epoch is closed, or never opened."""
        if self._renewal.has(epoch):
            return self._renewal.lost(code, reason, now)
        if self._current(epoch) is None:
            return _NOTHING
        effects = self._renewal.predecessor_lost(code, reason)
        return self.ended(code, reason, now) if effects is None else effects

    def _current(self, epoch: int) -> Link | None:
        link = self.link
        return link if link is not None and link.epoch == epoch else None

    def ended(
        self, code: int, reason: str, now: float, first_failure: ConnectionProblem | None = None
    ) -> Sequence[Effect]:
        """Leave the current link and decide whether, and when, to come back."""
        link, self.link = self.link, None
        code, fate = int(code), closing(code)
        reason = redact(reason) or fate.meaning
        effects: list[Effect] = self._renewal.abandoned(reason)
        effects += self.exchange.ended(f"the connection ended first ({reason})")
        connected_since = link.welcomed if link else None
        if connected_since is not None and now - connected_since >= self._policy.stable_after:
            self._attempt = 0
        if fate.terminal:
            return [*effects, *self._finish(TerminalDisconnect(code, fate.meaning), code, reason, noted=True)]
        if code == CloseCode.TOKEN_EXPIRED and not self._renews:
            expired = TokenUnavailable("the token has expired, and there is no token_provider to ask for another one")
            return [*effects, *self._finish(expired, code, reason, noted=connected_since is not None)]
        returns = self._was_connected or self._daemon  # else `connect` fails, and whoever called it decides
        if not returns or self._policy.exhausted(self._attempt):
            told = reason if code == CloseCode.ABNORMAL else f"{code} {reason}"
            failure: ConnectionProblem = HubUnreachable(self.hub, self._attempt, told)
            if not returns:
                failure = first_failure or failure
            return [*effects, *self._finish(failure, code, reason, noted=returns)]
        delay = self._policy.delay(
            self._attempt + 1, self._rng, retry_after=self._intake.retry_after, slow_floor=fate.slow_floor
        )
        if len(self._begun) == self._begun.maxlen:
            delay = max(delay, self._begun[0] + 60.0 - now)
        self._intake.retry_after = 0.0
        self._next_attempt = now + delay
        what = {"hub": self.hub, "code": code, "reason": reason, "retry_in": round(delay, 3)}
        if connected_since is None:
            effects.append(Noted("info", "attempt to connect failed", {**what, "attempt": self._attempt}))
        else:
            self.state = State.RECONNECTING
            self.inbox.append(Disconnected(code, reason, will_reconnect=True, delay=delay))
            effects.append(Noted("warning", "connection lost", what))
        return effects

    def _finish(self, failure: ConnectionProblem, code: int, reason: str, *, noted: bool) -> Sequence[Effect]:
        """End for good. `noted`: whoever called `connect` does not learn it, or not all of it, from what that raises."""
        self.state = State.CLOSED
        self.failure = failure
        self.inbox.append(Disconnected(code, reason, will_reconnect=False, delay=None))
        if not noted:
            return _NOTHING
        fate = closing(code)
        advice = fate.advice or "check that the hub runs and can be reached from here"
        what = {"hub": self.hub, "code": code, "meaning": fate.meaning, "reason": reason, "advice": advice}
        return (Noted("error", "disconnected for good", what),)

    def close(self) -> Sequence[Effect]:
        """End everything now, for good, at the owner's wish: no attempt, timer or event follows.

        A session that has ended by itself keeps what is still in its inbox.
        """
        if self.state is State.CLOSED:
            return _NOTHING
        effects = self._renewal.abandoned("the client was closed")
        link, self.link = self.link, None
        self._next_attempt = None
        effects += self.exchange.ended("the client was closed first")
        self.inbox.clear()
        self.state = State.CLOSED
        if link is not None:
            effects.append(Drop(link.epoch, CloseCode.NORMAL, ""))
        return effects

    # -- time

    def deadline(self) -> float | None:
        """Return when `tick` is due at the latest; `None` = nothing is waited for."""
        link = self.link
        if link is None:
            return None if self.choked else self._next_attempt
        if link.welcomed is None:
            return link.deadline
        if self._renewal.between:
            return self._renewal.deadline
        due = max(link.heard, link.pinged) + self.timeouts.ping
        if self.timeouts.inactivity is not None:
            due = min(due, link.heard + self.timeouts.inactivity)
        for other in (self.exchange.deadline(), self._renewal.deadline, self._intake.deadline()):
            if other is not None:
                due = min(due, other)
        return due if due < math.inf else None

    def tick(self, now: float) -> Sequence[Effect]:
        """Do what is due by now; called too early, it does nothing."""
        link = self.link
        if link is None:
            due = self._next_attempt is not None and self._next_attempt <= now and not self.choked
            return self._begin_attempt(now) if due else _NOTHING
        if link.welcomed is None:
            return self._late(link, now) if link.deadline <= now else _NOTHING
        effects: list[Effect] = [*self._renewal.tick(now)]
        if self._renewal.between or self.link is not link:
            return effects
        inactivity = self.timeouts.inactivity
        if inactivity is not None and link.heard + inactivity <= now:
            reason = f"nothing was heard from the hub for {inactivity:g} s"
            return [*effects, *self.drop(link, CloseCode.CLIENT_INACTIVITY, reason, now)]
        effects += self.exchange.tick(link.epoch, now)
        effects += self._intake.tick(now)
        if max(link.heard, link.pinged) + self.timeouts.ping <= now:
            link.pinged = now
            effects.append(Write(link.epoch, _PING))
        return effects

    def taken(self, now: float) -> Sequence[Effect]:
        """Note that events were taken out of the inbox after it was full."""
        if self.choked and len(self.inbox) <= self._intake.limit // 2:
            self.choked = False
            return self.tick(now)
        return _NOTHING

    def _late(self, link: Link, now: float) -> Sequence[Effect]:
        if not link.dialing:
            reason = f"the token provider gave no answer within {self.timeouts.token:g} s"
            return [Drop(link.epoch, CloseCode.NORMAL, ""), *self.token_failed(link.epoch, reason, now)]
        return self.drop(link, CloseCode.CLIENT_INACTIVITY, f"no welcome within {self.timeouts.welcome:g} s", now)

    def drop(self, link: Link, code: CloseCode, reason: str, now: float) -> Sequence[Effect]:
        """Close the connection from this side, without waiting for the hub to agree."""
        return [Drop(link.epoch, code, reason), *self.ended(code, reason, now)]

    # -- requests

    def subscribe(self, channel: str, include_sender_metadata: bool, now: float) -> Request:
        """Remember a subscription, then ask for it. Raises `NotConnected`, and then remembers nothing."""
        return self._made(self.exchange.subscribe(self._connected(), channel, include_sender_metadata, now))

    def unsubscribe(self, channel: str, now: float) -> Request:
        """Forget a subscription, also when not connected, then tell the hub. Raises `NotConnected`."""
        self.exchange.forget(channel)
        return self._made(self.exchange.unsubscribe(self._connected(), channel, now))

    def publish(self, channel: str, data: Raw, now: float, message_id: str | None = None) -> Request:
        """Raises `NotConnected` or `PayloadTooLarge`."""
        return self._made(self.exchange.publish(self._connected(), channel, data, message_id, now))

    def send(self, to: str, data: Raw, now: float, message_id: str | None = None) -> Request:
        """Raises `NotConnected` or `PayloadTooLarge`."""
        return self._made(self.exchange.send(self._connected(), to, data, message_id, now))

    def _connected(self) -> int:
        if self.state is State.CONNECTED and self.link is not None:
            return self._renewal.writes_on or self.link.epoch
        raise NotConnected(f"nothing was sent: {self.why_not_connected()}")

    def _made(self, request: Request) -> Request:
        return self._renewal.held(request) if self._renewal.holds_requests else request

    def why_not_connected(self) -> str:
        if self.failure is not None:
            return f"the client has ended ({self.failure})"
        return {
            State.IDLE: "the client has not been connected yet",
            State.CONNECTING: f"the client has not reached {self.hub} yet",
            State.RECONNECTING: f"the connection to {self.hub} is down and will be tried again",
            State.CLOSED: "the client was closed",
        }.get(self.state, "the client is connected")

    # -- frames

    def received(self, epoch: int, text: str, now: float) -> Sequence[Effect]:
        """Take one text frame. What a replaced socket still says, and what cannot be understood, changes nothing."""
        link = self.link
        if link is None or link.epoch != epoch:
            return self._renewal.received(text, now) if self._renewal.has(epoch) else _NOTHING
        link.heard = now
        frame = frames.decode_hub_frame(text)
        if link.welcomed is None:
            return self._welcome(link, frame, now) if isinstance(frame, frames.Welcome) else _NOTHING
        if isinstance(frame, frames.Ack):
            return self._answered(self.exchange.acknowledged(frame), now)
        if isinstance(frame, frames.Error):
            return self._answered(self.exchange.refused(frame, now), now)
        effects = self._intake.take(frame, now)
        return self.overflow(link, now) if effects is None else effects

    def _answered(self, effects: Sequence[Effect], now: float) -> Sequence[Effect]:
        return [*effects, *self._renewal.once_quiet(now)] if self._renewal.holds_requests else effects

    @property
    def full(self) -> bool:
        """Whether one frame more would be too many, with those that wait for a renewal."""
        return len(self.inbox) + self._renewal.unheard >= self._intake.limit

    def _welcome(self, link: Link, frame: frames.Welcome, now: float) -> Sequence[Effect]:
        link.welcomed = link.pinged = now
        resumed = self._was_connected
        effects: list[Effect] = [self.greeted(frame)]
        if self._renews:
            self._renewal.welcomed(frame, now)
        if resumed:
            effects += self.exchange.resume(link.epoch, now)
        return effects

    def greeted(self, frame: frames.Welcome) -> Noted:
        """Take what a welcome says, and tell of a new connection."""
        resumed, self._was_connected = self._was_connected, True
        self.state = State.CONNECTED
        self.know(frame)
        self.inbox.append(
            Connected(frame.peer_id, resumed, frame.expires_at, frame.max_message_size, self.private_metadata(frame))
        )
        what = {"hub": self.hub, "peer": frame.peer_id, "resumed": resumed}
        return Noted("info" if resumed else "debug", "connected", what)

    def know(self, frame: frames.Welcome) -> None:
        self.peer_id, self.exchange.max_message_size = frame.peer_id, frame.max_message_size
        self.budget = Budget.told(frame.rate)

    def overflow(self, link: Link, now: float) -> Sequence[Effect]:
        self.choked = True
        reason = f"the inbox is full: {self._intake.limit} events wait to be taken by the program"
        return self.drop(link, CloseCode.POLICY_VIOLATION, reason, now)

    @staticmethod
    def private_metadata(frame: frames.Welcome) -> frames.JsonObject | None:
        return None if frame.metadata is UNSET else frame.metadata
