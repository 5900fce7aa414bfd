"""One queue as a worker sees it: its open tasks, followed as they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.store.nats_follower import Follower
from orchestrator.store.nats_index import Index
from orchestrator.store.nats_packs import Packs
from orchestrator.store.nats_record import Record, decoded

if TYPE_CHECKING:
    from orchestrator.store.nats_engine import Engine


_WIDEST: Final = 512
_FLOOR_AFTER: Final = 1_000
"""Messages after which it is written down where those who begin to follow may begin."""


class Queue:
    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.spread = 0
        """How many places behind the first task a claim looks, because others claim from the same queue at this time."""
        self._own = engine.subjects.tasks_of(name)
        self._floor = engine.subjects.floor(name)
        self._since_floor = 0
        self._forget()
        self._follower = Follower(engine, [self._own, engine.subjects.packs], self._heard, self._begin)

    async def freshen(self) -> None:
        """Return when the picture holds all that was acknowledged before. Raises `StoreUnavailable`."""
        last = await self._engine.last(self._own)
        await self._follower.reach(0 if last is None else last.seq)
        if self._since_floor >= _FLOOR_AFTER:
            self._since_floor = 0
            await self._engine.send(self._floor, b"%d" % self._lowest(), {})

    def _lowest(self) -> int:
        """Return the number of the first message that somebody needs who begins to follow: later ones only replace it."""
        numbers = [self._follower.seen + 1]
        for entry in self.index.entries.values():
            pack = entry.record.pack
            numbers.append(min(entry.seq, self._packs.said(self._engine.subjects.pack(pack))) if pack else entry.seq)
        if (oldest := self._packs.oldest()) is not None:
            numbers.append(oldest)
        return min(numbers)

    def contended(self, wanted: int, refused: int) -> None:
        """Take in how many of the tasks that a claim went for were somebody else's by then."""
        if refused:
            self.spread = min(max(2 * self.spread, 2 * wanted), _WIDEST)
        else:
            self.spread -= -(-self.spread // 8)

    async def close(self) -> None:
        await self._follower.close()

    def put(self, record: Record, seq: int) -> None:
        self.index.put(record, seq)

    async def _begin(self) -> int:
        """What has ended is passed over by starting behind most of it: it stays in the stream until it is purged."""
        self._forget()
        floor = await self._engine.last(self._floor)
        return 0 if floor is None else int(floor.data)

    def _forget(self) -> None:
        self.index = Index()
        self._packs = Packs()

    def _heard(self, subject: str, seq: int, data: bytes) -> None:
        self._since_floor += 1
        if not subject.startswith(self._own[:-1]):
            for record, at in self._packs.told(subject, seq, data):
                self.index.put(record, at, heard=True)
        elif data:
            record = decoded(data, seq)
            if self._packs.counts(self._engine.subjects.pack(record.pack) if record.pack else "", record, seq):
                self.index.put(record, seq, heard=True)
