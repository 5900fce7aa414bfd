"""A run of a store, recorded, and what a loss of power or a bad copy may make of its files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite_file import StoreFile
from orchestrator.store.sqlite_reading import history_of, outcome_of
from orchestrator.store.tasks import Leased, State
from tests.store.task_stores import Clock, new

SECTOR: Final = 512
LOG_PAGES: Final = 30
"""Few, so that the log is moved into the file many times in a short run."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The files of a store when something had just been acknowledged, and all that had been until then."""

    file: bytes
    log: bytes
    lock: bytes
    payloads: dict[str, bytes]
    results: dict[str, bytes]

    def put(self, folder: Path) -> Path:
        path = folder / "tasks.db"
        path.write_bytes(self.file)
        path.with_name("tasks.db-wal").write_bytes(self.log)
        path.with_name("tasks.db.lock").write_bytes(self.lock)
        path.with_name("tasks.db-shm").unlink(missing_ok=True)
        return path

    def changed(self, *, file: bytes | None = None, log: bytes | None = None) -> Moment:
        return Moment(
            self.file if file is None else file,
            self.log if log is None else log,
            self.lock,
            self.payloads,
            self.results,
        )


async def record(folder: Path, requests: int) -> list[Moment]:
    """Store and do tasks of many sizes, and keep the files as they are after each answer: one transaction, one moment."""
    rng, path = random.Random(7), folder / "recorded.db"
    payloads: dict[str, bytes] = {}
    results: dict[str, bytes] = {}
    moments = []
    leased: list[Leased] = []
    async with SqliteStore(path, clock=Clock(), rng=random.Random(1), log_pages=LOG_PAGES) as store:
        for number in range(requests):
            if number % 4 == 0:
                tasks = [new(f"t{number}.{n}", payload=rng.randbytes(rng.randrange(1, 2_000))) for n in range(3)]
                await store.tasks.enqueue(tasks)
                payloads |= {task.id: task.payload for task in tasks}
            elif number % 4 == 1:
                leased += (await store.tasks.claim("helper", "helper.1", limit=2)).tasks
            else:
                hold, result = leased.pop().hold, rng.randbytes(rng.randrange(1, 1_000))
                await store.tasks.complete(hold, result)
                results[hold.id] = result
            files = (path, path.with_name("recorded.db-wal"), path.with_name("recorded.db.lock"))
            file, log, lock = (each.read_bytes() for each in files)
            moments.append(Moment(file, log, lock, dict(payloads), dict(results)))
    return moments


def torn(before: bytes, after: bytes, rng: random.Random) -> bytes:
    """Return what a disk may hold that was to have `after` and last had `before`: each sector old, new, half or noise."""
    image = bytearray(before[: len(after)].ljust(len(after), b"\0"))
    for start in range(0, len(after), SECTOR):
        end = min(start + SECTOR, len(after))
        if before[start:end] == after[start:end]:
            continue
        fate = rng.randrange(8)
        if fate < 4:
            image[start:end] = after[start:end]
        elif fate == 4:
            middle = rng.randrange(start, end)
            image[start:middle] = after[start:middle]
        elif fate == 5:
            image[start:end] = rng.randbytes(end - start)
    return bytes(image)


def cut(before: bytes, after: bytes, rng: random.Random) -> bytes:
    """Return `after` written over `before` from its start up to some point within what has changed."""
    changed = [at for at in range(0, len(after), SECTOR) if before[at : at + SECTOR] != after[at : at + SECTOR]]
    if not changed:
        return after
    end = rng.randrange(changed[0], len(after) + 1)
    return after[:end] + before[end:]


def power_losses(moments: list[Moment], count: int, rng: random.Random) -> Iterator[Moment]:
    """Yield what may be found after a loss of power: all that was synced is there, and any part of what was not.

    The log is synced before the file is touched, and the file before the log is written anew.
    """
    for _ in range(count):
        at = rng.randrange(len(moments) - 1)
        before, after = moments[at], moments[at + 1]
        damage = rng.choice([torn, cut])
        if before.file != after.file and rng.random() < 0.5:
            yield after.changed(file=damage(before.file, after.file, rng))
        else:
            yield before.changed(log=damage(before.log, after.log, rng))


def bad_copies(moments: list[Moment], count: int, rng: random.Random) -> Iterator[Moment]:
    """Yield copies that end too early, lack a file's log, or have a few bytes changed, anywhere."""
    for _ in range(count):
        moment = moments[rng.randrange(len(moments))]
        log_too = len(moment.log) > 0 and rng.random() < 0.5
        found = moment.log if log_too else moment.file
        if rng.random() < 0.5:
            image = found[: rng.randrange(len(found))]
        else:
            at = rng.randrange(len(found))
            image = found[:at] + bytes([found[at] ^ 1 << rng.randrange(8)]) + found[at + 1 :]
        yield moment.changed(log=image) if log_too else moment.changed(file=image)


def check_all_there(moment: Moment, folder: Path) -> None:
    """Look for all that had been acknowledged. Raises `StoreDamaged` if the store says that something is wrong."""
    file = StoreFile(moment.put(folder))
    try:
        connection = file.connection()
        for task_id, payload in moment.payloads.items():
            history = history_of(connection, task_id, None)
            assert history.payload == payload
        for task_id, result in moment.results.items():
            state, outcome = outcome_of(connection, task_id, None)
            assert state is State.DONE
            assert outcome is not None
            assert outcome.result == result
    finally:
        file.close()
