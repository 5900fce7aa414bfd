"""A session's connection goes on under a fresh token: the decisions, with what they do to the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from orchestrator.client.effects import Ask, Attempt, Drop, Effect, Noted, Request, State, Write
from orchestrator.client.events import Disconnected, Renewed
from orchestrator.client.succession import LAST_WORDS_TIMEOUT, QUIET_TIMEOUT, Schedule, Stage, Succession
from orchestrator.client.url import redact
from orchestrator.protocol import frames
from orchestrator.protocol.codes import CloseCode, closing

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from orchestrator.client.session import Session

_NOTHING: Final[tuple[Effect, ...]] = ()


class Renewal:
    """Make before break, where the hub continues a connection: nobody sees it, nothing is lost, doubled or overtaken.

    Elsewhere the connection is given up for another one in time, once its successor's socket is open. As long as a
    renewal can fail without harm, the connection stays as it is, and another one is tried before the token expires.
    """

    def __init__(self, session: Session, rng: random.Random) -> None:
        self._session = session
        self._schedule = Schedule(rng)
        self._seamless = False
        self._next: Succession | None = None

    # -- what the session asks

    def has(self, epoch: int) -> bool:
        return self._next is not None and self._next.epoch == epoch

    @property
    def between(self) -> bool:
        """Whether the old connection is used for nothing new any more."""
        return self._next is not None and self._next.stage.between

    @property
    def holds_requests(self) -> bool:
        """Whether requests wait for the successor. Once it is welcomed they are written on it."""
        return self._next is not None and self._next.stage in (Stage.QUIETING, Stage.ASKED)

    @property
    def writes_on(self) -> int | None:
        """The epoch on which requests are made, where it is not that of the session's link."""
        return self._next.epoch if self._next is not None and self._next.stage.between else None

    @property
    def unheard(self) -> int:
        """Frames that wait for the old connection to end."""
        return 0 if self._next is None else len(self._next.unheard)

    @property
    def deadline(self) -> float | None:
        return self._schedule.due if self._next is None else self._next.deadline

    def held(self, request: Request) -> Request:
        """Keep the frame of a request until the successor is welcomed."""
        assert self._next is not None
        self._next.unwritten[request.id] = request.frame
        return request._replace(frame=b"")

    # -- the course of things

    def welcomed(self, frame: frames.Welcome, now: float) -> None:
        self._seamless = frame.instance is not UNSET
        self._schedule.welcomed(frame, self._seamless, now)

    def tick(self, now: float) -> Sequence[Effect]:
        if self._next is not None:
            return self._late(self._next, now) if self._next.deadline <= now else _NOTHING
        if self._schedule.due is None or self._schedule.due > now:
            return _NOTHING
        self._schedule.due = None
        self._next = Succession(self._session.next_epoch(), now + self._session.timeouts.token)
        return (Attempt(self._next.epoch),)

    def dialing(self, epoch: int, now: float) -> bool:
        if self._next is None or self._next.epoch != epoch:
            return False
        self._next.enter(Stage.DIALING, now + self._session.timeouts.welcome)
        return True

    def opened(self, now: float) -> Sequence[Effect]:
        assert self._next is not None
        self._next.enter(Stage.QUIETING, now + QUIET_TIMEOUT)
        return self.once_quiet(now)

    def once_quiet(self, now: float) -> Sequence[Effect]:
        """Have the successor admitted, as soon as no request is under way on the old connection."""
        after, session = self._next, self._session
        if after is None or after.stage is not Stage.QUIETING or session.exchange.open > len(after.unwritten):
            return _NOTHING
        after.enter(Stage.ASKED, now + session.timeouts.welcome)
        return (Ask(after.epoch),) if self._seamless else (*self._break(after, now), Ask(after.epoch))

    def _break(self, after: Succession, now: float) -> Sequence[Effect]:
        """Give up the connection that there is for an attempt whose socket is open already."""
        self._next = None
        session = self._session
        reason = "the token is about to expire"
        dropped = session.replaced(after.epoch, now)
        session.state = State.RECONNECTING
        session.inbox.append(Disconnected(CloseCode.NORMAL, reason, will_reconnect=True, delay=0.0))
        what = {"hub": session.hub, "why": f"{reason}, and this hub does not let another connection continue this one"}
        return [
            dropped,
            *session.exchange.withdraw(after.unwritten, reason),
            *session.exchange.ended(reason),
            Noted("info", "reconnecting with a fresh token", what),
        ]

    def received(self, text: str, now: float) -> Sequence[Effect]:
        """Take a frame of the successor: its welcome at once, and what follows when the old connection has ended."""
        after, session = self._next, self._session
        assert after is not None
        after.heard = now
        if after.welcome is not None:
            if session.full and session.link is not None:
                return session.overflow(session.link, now)
            after.unheard.append(text)
            return _NOTHING
        frame = frames.decode_hub_frame(text)
        if not isinstance(frame, frames.Welcome):
            return _NOTHING
        after.welcome, after.welcomed = frame, now
        after.enter(Stage.WELCOMED, now + LAST_WORDS_TIMEOUT)
        effects: list[Effect] = [Write(after.epoch, held) for held in after.unwritten.values()]
        effects += session.exchange.resume(after.epoch, now)
        if after.predecessor_ended:
            return [*effects, *self._succeed(after)]
        if frame.peer_id != session.peer_id:  # then it continues nobody, and nobody closes the old connection
            return [*effects, *self._succeed(after, (CloseCode.NORMAL, "the fresh token is that of another peer"))]
        return effects

    def _succeed(self, after: Succession, lost: tuple[int, str] | None = None) -> Sequence[Effect]:
        """Make the successor the connection. `lost`: how the old one ended, with something still to be said perhaps."""
        session, welcome, self._next = self._session, after.welcome, None
        assert welcome is not None
        dropped = session.replaced(after.epoch, after.welcomed, welcomed=True, stable=lost is None)
        effects: list[Effect] = []
        if lost is None:
            session.know(welcome)
            session.inbox.append(Renewed(welcome.expires_at, session.private_metadata(welcome)))
            effects.append(Noted("debug", "token renewed", {"hub": session.hub, "peer": welcome.peer_id}))
        else:
            code, reason = lost
            session.inbox.append(Disconnected(int(code), reason, will_reconnect=True, delay=0.0))
            what = {"hub": session.hub, "code": int(code), "reason": reason}
            effects += [
                dropped,
                Noted("warning", "connection lost while its token was renewed", what),
                session.greeted(welcome),
            ]
        session.exchange.continued()
        self.welcomed(welcome, after.welcomed)
        for text in after.unheard:
            effects += session.received(after.epoch, text, after.heard)
        return effects

    # -- mishaps

    def failed(self, reason: str, now: float) -> Sequence[Effect]:
        """Go on with the connection that there is, and try again before its token expires."""
        after, session, self._next = self._next, self._session, None
        assert after is not None and session.link is not None
        self._schedule.failed(now)
        retry_in = None if self._schedule.due is None else round(self._schedule.due - now, 3)
        return [
            *(Write(session.link.epoch, held) for held in after.unwritten.values()),
            Noted("warning", "token not renewed", {"hub": session.hub, "reason": reason, "retry_in": retry_in}),
        ]

    def lost(self, code: int, reason: str, now: float) -> Sequence[Effect]:
        """Note that the successor's socket is closed, or never opened."""
        after, session = self._next, self._session
        assert after is not None
        if after.stage is Stage.WELCOMED:
            both = (CloseCode.ABNORMAL, "the connection was lost while its token was renewed")
            return [*self._succeed(after, both), *session.lost(after.epoch, code, reason, now)]
        if after.predecessor_ended:
            return session.ended(code, reason, now)
        return self.failed(redact(reason) or closing(code).meaning, now)

    def predecessor_lost(self, code: int, reason: str) -> Sequence[Effect] | None:
        """Note that the socket of the session's link is closed; `None` = no successor stands in for it."""
        after = self._next
        if after is None or closing(code).terminal:
            return None
        if after.stage is Stage.WELCOMED:
            return self._succeed(after, None if code == CloseCode.NORMAL else (code, redact(reason)))
        if after.stage is Stage.ASKED and code == CloseCode.NORMAL:
            after.predecessor_ended = True
            return _NOTHING
        return None

    def _late(self, after: Succession, now: float) -> Sequence[Effect]:
        session, drop = self._session, Drop(after.epoch, CloseCode.NORMAL, "")
        match after.stage:
            case Stage.FETCHING:
                reason = f"the token provider gave no answer within {session.timeouts.token:g} s"
                return [drop, *session.token_failed(after.epoch, reason, now)]
            case Stage.QUIETING:
                return [drop, *self.failed(f"the hub did not answer every request within {QUIET_TIMEOUT:g} s", now)]
            case Stage.WELCOMED:
                why = f"the hub did not close it within {LAST_WORDS_TIMEOUT:g} s after it was continued"
                return self._succeed(after, (CloseCode.ABNORMAL, why))
            case _:
                reason = f"no welcome within {session.timeouts.welcome:g} s"
                return [drop, *self.lost(CloseCode.CLIENT_INACTIVITY, reason, now)]

    def abandoned(self, why: str) -> list[Effect]:
        """Note that the session has no connection any more: there is nothing left to continue."""
        after, self._next, self._schedule.due = self._next, None, None
        if after is None:
            return []
        never_left = {} if after.stage is Stage.WELCOMED else after.unwritten
        return [Drop(after.epoch, CloseCode.NORMAL, ""), *self._session.exchange.withdraw(never_left, why)]
