"""Reading single things out of the stream: a task by its id, and what is too large for its record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.store.nats_packs import STORED
from orchestrator.store.nats_record import Record, decoded
from orchestrator.store.nats_writer import Write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orchestrator.store.nats_engine import Engine, Kept
    from orchestrator.store.nats_record import Bulk

PAYLOAD, RESULT = "payload", "result"
_PART: Final = 524_288
_AT_ONCE: Final = 64
"""Questions that one request has under way at a time."""


class Found(NamedTuple):
    record: Record | None
    """`None` = there is no such task."""
    seq: int
    """The last message about it; 0 = none."""


class Reader:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._few = asyncio.Semaphore(_AT_ONCE)

    @property
    def part(self) -> int:
        """Bytes of one part: what is read comes in base64, and everything has to fit into one message."""
        return min(_PART, self._engine.client.max_payload * 6 // 10)

    async def find(self, task_id: str) -> Found:
        """Return a task as the leader has it. What was not stored as a whole yet is not there."""
        found = await self.find_staged(task_id)
        if found.record is not None and found.record.pack:
            said = await self._last(self._engine.subjects.pack(found.record.pack))
            if said is None or said.data != STORED:
                return Found(None, found.seq)
        return found

    async def find_staged(self, task_id: str) -> Found:
        """Return what there is of a task, whether or not it counts."""
        kept = await self._last(self._engine.subjects.task_anywhere(task_id))
        if kept is None or not kept.data:
            return Found(None, 0 if kept is None else kept.seq)
        return Found(decoded(kept.data, kept.seq), kept.seq)

    async def last_of(self, subjects: Iterable[str]) -> list[Kept | None]:
        """Return the last message on each subject; `None` = none."""
        return await asyncio.gather(*map(self._last, subjects))

    async def find_all(self, task_ids: Collection[str]) -> dict[str, Found]:
        found = await asyncio.gather(*(self.find(task_id) for task_id in task_ids))
        return dict(zip(task_ids, found, strict=True))

    async def whole(self, task_id: str, of: str, bulk: Bulk | None) -> bytes | None:
        """Return a payload or result, out of its parts if it has any; `None` = it is not there as it was stored."""
        if bulk is None or bulk.data is not None:
            return None if bulk is None else bulk.data
        subjects = (self._engine.subjects.part(task_id, of, number) for number in range(bulk.parts))
        parts = await asyncio.gather(*(self._last(subject) for subject in subjects))
        data = b"".join(part.data for part in parts if part is not None)
        return data if len(data) == bulk.size else None

    def parts(self, task_id: str, of: str, bulk: Bulk, data: bytes) -> list[Write]:
        """Return what is to be written beside a record."""
        size = -(-bulk.size // bulk.parts) if bulk.parts else 0
        return [
            Write(self._engine.subjects.part(task_id, of, number), data[number * size : (number + 1) * size], None)
            for number in range(bulk.parts)
        ]

    async def _last(self, subject: str) -> Kept | None:
        async with self._few:
            return await self._engine.last(subject)
