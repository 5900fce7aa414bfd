"""Leases in NATS: one subject for each name, and nothing said of it that the leader of the stream has not confirmed.

What is read may come from a leader that is cut off and does not know it. So an answer that changes nothing is confirmed too:
by writing something that means nothing, on the condition that what was read is still the last. In a minority nothing can be
written, and there is no answer.

The message number of a grant is its fence: numbers of a stream only grow. Whether a lease is over is judged by the leader's
time (`nats_clock`), and written down by whoever finds it out before it is told: a lease that has ended never comes back.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from orchestrator.store.nats_writer import Write
from orchestrator.store.port import Lease
from orchestrator.store.tasks import check_lease

if TYPE_CHECKING:
    from orchestrator.store.nats_engine import Engine
    from orchestrator.store.nats_writer import Writer
    from orchestrator.store.port import Capabilities

_MARGIN: Final = 60
"""Seconds after the end of a lease for which the engine keeps it."""


class _Held(msgspec.Struct, frozen=True):
    name: str
    holder: str
    end: float
    fence: int = 0
    """0 = the number of the message that this is in."""


class _Found(msgspec.Struct, frozen=True):
    held: _Held | None
    seq: int


class NatsLeases:
    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine, self._writer, self._clock = engine, writer, engine.clock
        self._witness = engine.subjects.witness(secrets.token_hex(10))
        self._decoder = msgspec.json.Decoder(_Held)

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        check_lease(ttl)
        while True:
            found = await self._find(name)
            held = found.held
            if held is None:
                granted = await self._put(_Held(name, holder, self._clock.end(ttl)), found.seq, ttl)
                if granted is not None:
                    return Lease(name, holder, granted, ttl)
            elif held.holder != holder:
                if await self._still(name, found.seq):
                    return None
            elif await self._put(_Held(name, holder, self._clock.end(ttl), held.fence), found.seq, ttl) is not None:
                return Lease(name, holder, held.fence, ttl)

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        check_lease(ttl)
        while True:
            found = await self._find(name)
            held = found.held
            if held is None or held.holder != holder:
                if await self._still(name, found.seq):
                    return None
            elif await self._put(_Held(name, holder, self._clock.end(ttl), held.fence), found.seq, ttl) is not None:
                return Lease(name, holder, held.fence, ttl)

    async def release(self, name: str, holder: str) -> None:
        while True:
            found = await self._find(name)
            if found.held is None or found.held.holder != holder:
                if await self._still(name, found.seq):
                    return
            elif await self._end(name, found.seq) is not None:
                return

    async def get(self, name: str) -> Lease | None:
        while True:
            found = await self._find(name)
            if await self._still(name, found.seq):
                held = found.held
                return None if held is None else Lease(name, held.holder, held.fence, self._clock.left(held.end))

    async def _find(self, name: str) -> _Found:
        """Return who holds a name; what is over by now is ended first."""
        await self._engine.ready()
        while True:
            kept = await self._engine.last(self._engine.subjects.lease(name))
            if kept is None or not kept.data:
                return _Found(None, 0 if kept is None else kept.seq)
            held = self._decoder.decode(kept.data)
            if held.end > self._clock.now():
                held = held if held.fence else msgspec.structs.replace(held, fence=kept.seq)
                return _Found(held, kept.seq)
            ended = await self._end(name, kept.seq)
            if ended is not None:
                return _Found(None, ended)

    async def _put(self, held: _Held, seen: int, ttl: float) -> int | None:
        """Write a lease after the last message that was seen; `None` = that was not the last."""
        data, kept_for = msgspec.json.encode(held), math.ceil(ttl) + _MARGIN
        return await self._writer.write([Write(self._engine.subjects.lease(held.name), data, seen, ttl=kept_for)])

    async def _end(self, name: str, seen: int) -> int | None:
        return await self._writer.write([Write(self._engine.subjects.lease(name), b"", seen, ttl=_MARGIN)])

    async def _still(self, name: str, seen: int) -> bool:
        """Tell whether a message is still the last about a name, as most of the servers have it."""
        write = Write(self._witness, b"", seen, self._engine.subjects.lease(name), _MARGIN)
        return await self._writer.write([write]) is not None
