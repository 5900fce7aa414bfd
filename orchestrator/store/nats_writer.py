"""Writing to the stream: several messages as a whole, each on the condition that nobody has written to its subject since.

What many ask for at the same time goes out in one batch. If it is refused, each is tried by itself.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

    from orchestrator.store.nats_engine import Engine

LARGEST_BATCH: Final = 900
"""Messages; servers take 1,000."""
_BATCH_BYTES: Final = 16 * 1_048_576
"""Bytes after which a batch takes nothing more of others."""
_ALONE: Final = 24
"""Single messages that may be under way before others wait for a batch: one costs the server as much as so many of them."""
_AT_A_TIME: Final = 3
"""Batches that may be under way."""
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_ON: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
_CONFLICTS: Final = {10071, 10164}
_BUSY: Final = {10176, 10210, 10211}
"""JetStream's numbers for too many batches that others have under way, and for what is left of one that it would not begin."""
_PAUSES: Final = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds before a batch is sent again that was turned away so."""


class Write(NamedTuple):
    """One message, and the condition for all of those that it is written with."""

    subject: str
    data: bytes
    seen: int | None
    """The last message that may be on the subject; 0 = none, `None` = any."""
    seen_on: str | None = None
    """The subject, or pattern, that `seen` is about; `None` = that of the message."""
    ttl: int | None = None
    """Whole seconds after which the engine forgets it; `None` = never."""


class _Refused(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Stored(msgspec.Struct):
    seq: int = 0
    error: _Refused | None = None


class _Order(NamedTuple):
    writes: Sequence[Write]
    stored: asyncio.Future[int | None]


class Writer:
    """What one process writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Order] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._batches = self._alone = 0
        self._decoder = msgspec.json.Decoder(_Stored)

    async def write(self, writes: Sequence[Write]) -> int | None:
        """Write all of it or nothing; return the number of the first message, which the others follow one by one.

        `None` = a condition did not hold. Raises `StoreUnavailable`: it was done or not. At most `LARGEST_BATCH` messages,
        no two of them on one subject.
        """
        order = _Order(writes, asyncio.get_running_loop().create_future())
        self._waiting.append(order)
        self._go_on()
        return await order.stored

    async def write_alone(self, writes: Sequence[Write]) -> int | None:
        """Do what `write` does without others in the same batch: for what is likely to be refused."""
        order = _Order(writes, asyncio.get_running_loop().create_future())
        self._start([order])
        return await order.stored

    async def close(self) -> None:
        """Finish what is under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    def _go_on(self) -> None:
        while self._waiting and self._alone < _ALONE and len(self._waiting[0].writes) == 1:
            self._alone += 1
            self._start([self._waiting.popleft()]).add_done_callback(self._alone_done)
        while self._waiting and self._batches < _AT_A_TIME:
            self._batches += 1
            self._start(self._next()).add_done_callback(self._batch_done)

    def _alone_done(self, _task: asyncio.Task[None]) -> None:
        self._alone -= 1
        self._go_on()

    def _start(self, orders: list[_Order]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._carry_out(orders), name="store batch")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _batch_done(self, _task: asyncio.Task[None]) -> None:
        self._batches -= 1
        self._go_on()

    def _next(self) -> list[_Order]:
        """Take what fits into one batch: of two that write to one subject, the second waits for the next."""
        taken: list[_Order] = []
        left: deque[_Order] = deque()
        subjects: set[str] = set()
        count = size = 0
        for order in self._waiting:
            own = {write.subject for write in order.writes}
            fits = not taken or (count + len(order.writes) <= LARGEST_BATCH and size < _BATCH_BYTES)
            if fits and subjects.isdisjoint(own):
                taken.append(order)
                count += len(order.writes)
                size += sum(len(write.data) for write in order.writes)
            else:
                left.append(order)
            subjects |= own
        self._waiting = left
        return taken

    async def _carry_out(self, orders: list[_Order]) -> None:
        try:
            first = await self._send([write for order in orders for write in order.writes])
            if first is None and len(orders) > 1:
                await asyncio.gather(*(self._carry_out([order]) for order in orders))
                return
        except Exception as error:  # noqa: BLE001  # it is for whoever asked
            for order in orders:
                if not order.stored.done():
                    order.stored.set_exception(error)
            return
        for order in orders:
            if not order.stored.done():  # cancelled meanwhile, and done all the same
                order.stored.set_result(first)
            if first is not None:
                first += len(order.writes)

    async def _send(self, writes: list[Write]) -> int | None:
        for pause in (*_PAUSES, None):
            stored = self._decoder.decode((await self._sent(writes)).data)
            refused = stored.error
            if refused is None:
                return stored.seq - len(writes) + 1
            if refused.err_code in _CONFLICTS:
                return None
            if refused.err_code not in _BUSY or pause is None:
                raise self._engine.unavailable(refused.description)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
        raise AssertionError("the last pause is none")

    async def _sent(self, writes: list[Write]) -> Msg:
        if len(writes) == 1:
            (write,) = writes
            return await self._engine.ask(write.subject, write.data, _headers(write))
        batch = secrets.token_hex(12)
        last = len(writes)
        for number, write in enumerate(writes, 1):
            headers = _headers(write) | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number < last:
                await self._engine.send(write.subject, write.data, headers)
        return await self._engine.ask(write.subject, write.data, headers | {"Nats-Batch-Commit": "1"})


def _headers(write: Write) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if write.seen is not None:
        headers[_EXPECTED] = str(write.seen)
        if write.seen_on is not None:
            headers[_EXPECTED_ON] = write.seen_on
    if write.ttl is not None:
        headers["Nats-TTL"] = f"{write.ttl}s"
    return headers
