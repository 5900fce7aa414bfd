"""The hub's core under a clock that only tests move, and peers that are two lists: what they got, how they ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.hub.admission import admit
from orchestrator.hub.connections import Connection
from orchestrator.hub.keys import KeyRing, PublishableKey
from orchestrator.hub.rosters import Reason
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import Action
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from tests.joined_cores import new_hub_in_a_standing_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.core import Hub

WALL = 1_790_000_000.0
KEY = SecretKey("sk_id_test", "sk_secret_" + "k" * 32)
PAGE_KEY = PublishableKey("pk_live_" + "p" * 24)


def frames_of(data: bytes) -> list[bytes]:
    """Take complete, unmasked frames apart; control frames come as they are."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        found.append(data[start : start + size] if data[0] == 0x81 else data[: start + size])
        data = data[start + size :]
    return found


class Peer:
    """One connection of a test."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.outbox = rig.hub.outbox()
        self.outbox.owner = self
        self.connection: Connection | None = None
        self.writes: list[tuple[float, list[bytes]]] = []
        """Every write with its time and frames."""
        self.seen = 0
        self.closed: tuple[int, str] | None = None
        self.aborted = False

    def send(self, frame: Any) -> None:
        """Send a frame, a dictionary or the text itself."""
        text = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        assert self.connection is not None
        self.rig.hub.receive(self.connection, text, self.rig.now)
        self.rig.flush()

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer, which is the next ack or error."""
        before = len(self.all())
        self.send({"type": kind, "requestId": "r", **fields})
        answers = [
            f for f in self.all()[before:] if f["type"] in ("ack", "error", "pong") and f.get("requestId") == "r"
        ]
        assert len(answers) == 1, answers
        return answers[0]

    def join(self, channel: str, **fields: Any) -> list[dict[str, Any]]:
        """Subscribe, wait for the roster, and return what came besides the ack."""
        self.new()
        assert self.ask("subscribe", channel=channel, **fields)["type"] == "ack"
        self.rig.advance(0.03)
        return [frame for frame in self.new() if frame["type"] != "ack"]

    def leave(self, reason: Reason = Reason.LEFT) -> None:
        assert self.connection is not None
        self.rig.hub.disconnect(self.connection, self.rig.now, reason)
        self.rig.flush()

    def code(self) -> int | None:
        """Return the close code; `None` while the connection is open."""
        return None if self.closed is None else int(self.closed[0])

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(text) for _, texts in self.writes for text in texts if text[:1] == b"{"]

    def new(self) -> list[dict[str, Any]]:
        """Return the text frames since the last call."""
        fresh, self.seen = self.writes[self.seen :], len(self.writes)
        return [json.loads(text) for _, texts in fresh for text in texts if text[:1] == b"{"]

    def flush(self, now: float) -> None:
        data = self.outbox.take(now)
        if data:
            self.writes.append((now, frames_of(data)))
            self.outbox.sent(now)
        if self.outbox.closing is not None and self.closed is None:
            self.closed = self.outbox.closing
        self.aborted = self.outbox.aborted


class Rig:
    make_hub: Callable[[Settings, Callable[[Exception], None]], Hub] = staticmethod(new_hub_in_a_standing_time)

    def __init__(self, settings: Settings | None = None, *keys: SecretKey | PublishableKey) -> None:
        ring = keys or (KEY, PAGE_KEY)
        self.keys = KeyRing(
            [key for key in ring if isinstance(key, SecretKey)],
            [key for key in ring if isinstance(key, PublishableKey)],
        )
        self.faults: list[Exception] = []
        self.hub = self.make_hub(settings or Settings(), self.faults.append)
        self.now = 100.0
        self.minted = 0

    @property
    def wall(self) -> float:
        return WALL + self.now

    def token(self, sub: str, key: SecretKey = KEY, life: float = 3600, **claims: Any) -> str:
        permissions = claims.pop("permissions", None)
        if permissions is not None:
            claims["permissions"] = frozenset(map(Action, permissions))
        return mint(key, Claims(sub=sub, exp=int(self.wall + life), **claims))

    def connect(self, sub: str, **options: Any) -> Peer:
        return self.connect_by(f"token={self.token(sub, **options)}")

    def connect_by(self, query: str, origin: str | None = None) -> Peer:
        """Connect with a query. Raises `TokenRefused`."""
        identity = admit(query, origin, self.keys, self.wall, self.new_id)
        peer = Peer(self)
        peer.connection = self.hub.connect(identity, peer.outbox, self.now, self.wall)
        self.flush()
        return peer

    def new_id(self) -> str:
        self.minted += 1
        return f"00000000-0000-4000-8000-{self.minted:012}"

    def flush(self) -> None:
        """Write what is dirty, as one turn of a loop does, and what that makes dirty."""
        while self.hub.turn.dirty:
            dirty, self.hub.turn.dirty = self.hub.turn.dirty, []
            for outbox in dirty:
                outbox.cleaned()
                assert isinstance(outbox.owner, Peer)
                outbox.owner.flush(self.now)

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline of the hub on the way."""
        end = self.now + seconds
        while (deadline := self.hub.next_deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.hub.tick(self.now)
            self.flush()
        self.now = end
        self.hub.tick(end)
        self.flush()
