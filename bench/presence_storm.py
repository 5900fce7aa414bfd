"""A lobby that people come to and go from all the time: what the hub sends to whoever watches it, and what would do."""

from __future__ import annotations

import argparse
import heapq
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.verdict import Bar, tell
from orchestrator.hub.admission import admit
from orchestrator.hub.core import Hub
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.hub.wire import entry, presence
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint

if TYPE_CHECKING:
    from orchestrator.hub.connections import Connection

LOBBY: Final = "agents-lobby"
WINDOW: Final = 0.1
"""Seconds over which the ideal gathers what has changed."""
QUIET: Final = 1.0
KEY: Final = SecretKey("sk_id_bench", "k" * 40, rate="unlimited")
_SUBSCRIBE: Final = b'{"type":"subscribe","channel":"%b","requestId":"r"}' % LOBBY.encode()
_WALL: Final = 1_790_000_000.0


def metadata_of(number: int) -> dict[str, Any]:
    return {
        "kind": "agent",
        "agent": "guest",
        "replica": number,
        "name": f"Guest number {number}",
        "capabilities": ["pdf"],
    }


class Reader:
    """A connection to the lobby, and the roster as its frames tell it."""

    def __init__(self, storm: Storm, sub: str, number: int | None) -> None:
        """`number` is that of a guest; `None` = it only watches."""
        claims = Claims(
            sub=sub,
            exp=int(_WALL + 80_000),
            peer_metadata={"kind": "user"} if number is None else metadata_of(number),
            grants=Grants(observe=(LOBBY,)) if number is None else None,
        )
        identity = admit(f"token={mint(KEY, claims)}", None, storm.keys, _WALL, str)
        self.storm, self.outbox = storm, storm.hub.outbox()
        self.outbox.owner = self
        self.roster: set[str] | None = None
        """`None` = it was not told yet."""
        self.told = self.frames = 0
        """Bytes and frames of changes."""
        self.contradictions = 0
        """Joins of those who were there, and leaves of those who were not."""
        connection = storm.hub.connect(identity, self.outbox, storm.now, _WALL)
        assert connection is not None
        self.connection: Connection = connection
        storm.hub.receive(connection, _SUBSCRIBE, storm.now)

    def flush(self, now: float) -> None:
        """Read what a turn has brought."""
        frames = self.outbox.waiting()
        self.outbox.take(now)
        self.outbox.sent(now)
        for frame in frames:
            found = self.storm.read(frame)
            if found is None:
                continue
            joined, left = found
            self.storm.sent += len(frame)
            if self.roster is None:
                self.roster = set(joined)
                self.storm.rosters += len(frame)
                continue
            self.told += len(frame)
            self.frames += 1
            self.contradictions += len(self.roster & joined) + len(left - self.roster)
            self.roster = (self.roster | joined) - left


@dataclass
class Ideal:
    """What telling each change that lasts would take: a window's joins and leaves that undo each other are none."""

    known: set[str] = field(default_factory=set)
    one_each: int = 0
    """Bytes toward one reader with a frame for each change."""
    merged: int = 0
    """The same with a frame for each window."""
    everybody: int = 0
    """Bytes toward all readers with a frame for each change."""

    def window(self, here: set[str], entries: dict[str, bytes], readers: int) -> None:
        """Note what a window has come to, and that `readers` are to be told of it."""
        joined = [entries[sub] for sub in sorted(here - self.known)]
        left = [b'{"peerId":%b,"reason":"lost"}' % encode_json(sub) for sub in sorted(self.known - here)]
        channel = encode_json(LOBBY)
        size = sum(len(presence(channel, [one], [])) for one in joined)
        size += sum(len(presence(channel, [], [one])) for one in left)
        self.one_each += size
        self.everybody += size * readers
        if joined or left:
            self.merged += len(presence(channel, joined, left))
        self.known = set(here)


class Storm:
    """The hub's core in virtual time. Guests come and go at random, and watchers stay."""

    def __init__(self, *, watchers: int, guests: int, window: float, seed: int) -> None:
        self.hub = Hub(Settings(presence_window=window))
        self.keys = KeyRing([KEY])
        self.now = 0.0
        self._dice = random.Random(seed)
        self._seen: dict[bytes, tuple[set[str], set[str]] | None] = {}
        self._guests = [f"guest.{number}" for number in range(guests)]
        self._entries = {
            sub: entry(encode_json(sub), encode_json(metadata_of(number))) for number, sub in enumerate(self._guests)
        }
        self.here: dict[str, Reader] = {}
        self.sent = self.rosters = 0
        """Bytes of presence toward everybody, and of those the whole rosters, which everybody is owed who comes."""
        self.cpu = 0.0
        """Seconds of the processor, of the hub together with its readers."""
        self.watchers = [Reader(self, f"watcher.{number}", None) for number in range(watchers)]
        for sub in self._dice.sample(self._guests, guests // 2):
            self._toggle(sub)
        self._until(QUIET)
        for watcher in self.watchers:
            watcher.told = watcher.frames = 0
        self.sent = self.rosters = 0
        self.ideal = Ideal(known=set(self.here))
        self.changes = 0

    def run(self, seconds: float, per_second: float) -> None:
        """Let `per_second` changes happen, half of them joins, and then nothing until all is told."""
        began, cpu = self.now, time.process_time()
        events = [began + (n + self._dice.random()) / per_second for n in range(int(seconds * per_second))]
        windows = [began + n * WINDOW for n in range(1, int(seconds / WINDOW) + 2)]
        for when, is_change in heapq.merge([(at, True) for at in sorted(events)], [(at, False) for at in windows]):
            self._until(when)
            if is_change:
                self._toggle(self._dice.choice(self._guests))
                self.changes += 1
            else:
                self.ideal.window(set(self.here), self._entries, len(self.watchers) + len(self.here))
        self._until(self.now + QUIET)
        self.cpu += time.process_time() - cpu

    @property
    def told(self) -> float:
        """Bytes of changes toward one watcher."""
        return sum(watcher.told for watcher in self.watchers) / len(self.watchers)

    def wrong(self) -> int:
        """Return how many readers have another roster than the truth, or were told a contradiction."""
        truth = set(self.here)
        readers = [*self.watchers, *self.here.values()]
        own = [{reader.connection.peer_id} if reader.connection.peer_id in truth else set() for reader in readers]
        return sum(
            reader.contradictions > 0 or reader.roster != truth - me for reader, me in zip(readers, own, strict=True)
        )

    def read(self, frame: bytes) -> tuple[set[str], set[str]] | None:
        """Return who joined and who left in a presence frame; `None` for any other one."""
        if frame not in self._seen:
            if len(self._seen) > 1_000:
                self._seen.clear()
            start = {126: 4, 127: 10}.get(frame[1], 2)
            if frame[start : start + 18] == b'{"type":"presence"':
                read = msgspec.json.decode(frame[start:])
                sides = [{one["peerId"] for one in read[side]} for side in ("joined", "left")]
                self._seen[frame] = (sides[0], sides[1])
            else:
                self._seen[frame] = None
        return self._seen[frame]

    def _toggle(self, sub: str) -> None:
        reader = self.here.pop(sub, None)
        if reader is None:
            self.here[sub] = Reader(self, sub, int(sub.rpartition(".")[2]))
        else:
            self.hub.disconnect(reader.connection, self.now)
        self._flush()

    def _until(self, end: float) -> None:
        while (deadline := self.hub.next_deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.hub.tick(self.now)
            self._flush()
        self.now = end

    def _flush(self) -> None:
        turn = self.hub.turn
        while turn.dirty:
            dirty, turn.dirty = turn.dirty, []
            for outbox in dirty:
                outbox.cleaned()
                if outbox.owner is not None:
                    outbox.owner.flush(self.now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--guests", type=int, default=500)
    parser.add_argument("--changes", type=float, default=2_000.0, help="joins and leaves a second, together")
    parser.add_argument("--seconds", type=float, default=10.0, help="virtual seconds")
    parser.add_argument(
        "--window", type=float, default=WINDOW, help="of the hub, in seconds; 0 tells each change alone"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    storm = Storm(watchers=arguments.watchers, guests=arguments.guests, window=arguments.window, seed=arguments.seed)
    storm.run(arguments.seconds, arguments.changes)
    told = storm.told
    tell(
        "presence_storm",
        [
            Bar("readers whose roster is wrong after quiet", storm.wrong(), "<=", 0),
            Bar("bytes to everybody / ideal", storm.sent / (storm.ideal.everybody + storm.rosters), "<=", 3.0),
            Bar("bytes to a watcher / ideal", told / storm.ideal.one_each, "<=", 3.0),
            Bar("bytes to a watcher / ideal of merged frames", told / storm.ideal.merged, "<=", 3.0),
        ],
        {
            "changes": storm.changes,
            "bytes_to_everybody": storm.sent,
            "bytes_of_whole_rosters": storm.rosters,
            "told_bytes_per_watcher": round(told),
            "frames_per_watcher_and_s": storm.watchers[0].frames / arguments.seconds,
            "bytes_per_change_and_watcher": round(told / storm.changes, 1),
            "cpu_us_per_change": round(storm.cpu / storm.changes * 1e6),
            "cpu_share": round(storm.cpu / arguments.seconds, 3),
        },
    )


if __name__ == "__main__":
    main()
