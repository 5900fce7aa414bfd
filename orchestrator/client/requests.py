"""The requests that wait for an answer, and what each answer means to whoever asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from orchestrator.client.effects import Settled
from orchestrator.errors import AckTimeout, ConnectionProblem, NotAuthorized, PeerNotFound, RequestRefused
from orchestrator.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSALS: Final[dict[str, type[RequestRefused]]] = {
    ErrorCode.PEER_NOT_FOUND: PeerNotFound,
    ErrorCode.CHANNEL_NOT_AUTHORIZED: NotAuthorized,
    ErrorCode.ACTION_NOT_PERMITTED: NotAuthorized,
}


_WORDS: Final = {
    "publish": "publish to",
    "send": "send to",
    "subscribe": "subscribe to",
    "presence": "see the presence on",
}


def refusal(code: str, message: str, kind: str, subject: str) -> RequestRefused:
    """Return the error that a caller gets for an error code, which may be newer than this client."""
    error = _REFUSALS.get(code, RequestRefused)
    return lacks(kind, subject, code) if error is NotAuthorized else error(code, message, subject)


def lacks(kind: str, subject: str, code: str) -> NotAuthorized:
    """Return the error for a request that `subject`, a channel or a peer, is out of scope for."""
    said = f"the credential lacks the scope to {_WORDS.get(kind, kind)} {subject!r}: {kind}: [{subject}]"
    return NotAuthorized(code, said, subject)


class Pending(Struct, frozen=True):
    kind: str
    """The type of the frame that was sent."""
    subject: str
    """The channel or peer that it was about."""
    deadline: float
    tries_left: int | None = None
    """For the replay of a subscription, which nobody awaits: how often it may still be repeated. Else `None`."""


class Requests:
    """Every open request of the current connection under its id, the oldest first. All wait equally long."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._made = 0
        self._open: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, kind: str, subject: str, now: float, tries_left: int | None = None) -> str:
        """Note a request and return its id, which no other request of this client has had."""
        self._made += 1
        request_id = str(self._made)
        self._open[request_id] = Pending(kind, subject, now + self._timeout, tries_left)
        return request_id

    def answered(self, request_id: str) -> Pending | None:
        """Forget a request; `None` when it is unknown, or given up already."""
        return self._open.pop(request_id, None)

    def deadline(self) -> float | None:
        """Return when the oldest request will have waited too long."""
        return next(iter(self._open.values())).deadline if self._open else None

    def expired(self, now: float) -> Iterator[tuple[str, Pending, AckTimeout]]:
        """Forget and yield the requests that the hub has not answered in time."""
        while self._open:
            request_id, pending = next(iter(self._open.items()))
            if pending.deadline > now:
                return
            del self._open[request_id]
            yield (
                request_id,
                pending,
                AckTimeout(
                    f"the hub did not answer the {pending.kind} to {pending.subject!r} within {self._timeout:g} s; "
                    "it may or may not have processed it"
                ),
            )

    def fail_all(self, kind: type[ConnectionProblem], why: str) -> list[Settled]:
        """Forget every request; each that somebody awaits ends in an error of its own."""
        ended = [
            Settled(
                request_id,
                error=kind(
                    f"the {pending.kind} to {pending.subject!r} was not answered: {why}; "
                    "the hub may or may not have processed it"
                ),
            )
            for request_id, pending in self._open.items()
            if pending.tries_left is None
        ]
        self._open.clear()
        return ended
