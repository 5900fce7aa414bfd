"""How one member of a team learns what another one has and it has not: hashes, then versions, then the writes themselves.

Who answers remembers nothing of it. An answer is a few pages, small enough for the queue of a slow reader, and says
whether there is more, so that the asker sets the pace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from orchestrator.patterns.versioned import BUCKETS, DIGITS, Entry, VersionedMap
from orchestrator.protocol.limits import MAX_DEPTH, MAX_PEER_ID
from orchestrator.protocol.payloads import StatePage, StateSync, StateVersions, plain

PAGE_BYTES: Final = 48 * 1024
PAGES_AT_ONCE: Final = 8
MAX_KEY: Final = 256
"""Characters of a key."""
MAX_VALUE: Final = 56 * 1024
"""Bytes of a value: with its key and its version it fits into one message."""
VALUE_DEPTH: Final = MAX_DEPTH - 16
"""Levels of nesting within a value, with room for what it travels in."""

Answer: TypeAlias = list[StatePage | StateVersions]


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    key: str
    lamport: int
    peer: str
    value: Raw = Raw(b"")


class _Listed(msgspec.Struct, array_like=True, frozen=True):
    key: str
    lamport: int
    peer: str
    hash: str


_wire: Final = msgspec.json.Decoder(_Wire).decode
_listed: Final = msgspec.json.Decoder(_Listed).decode
_encode: Final = msgspec.json.Encoder().encode


def packed(entry: Entry) -> Raw:
    """Return an entry as it travels among others."""
    told: tuple[object, ...] = entry[:3] if entry.value is None else (*entry[:3], Raw(entry.value))
    return Raw(_encode(told))


def unpacked(items: Iterable[Raw]) -> Iterator[Entry]:
    """Yield the entries of a page; what is none, or none that all could take, is passed over."""
    for item in items:
        try:
            wire = _wire(item)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        value = bytes(wire.value)
        entry = Entry(wire.key, wire.lamport, wire.peer, value or None)
        if sound(entry):
            yield entry


def sound(entry: Entry) -> bool:
    """Tell whether a write is one that every member takes, and can pass on."""
    if not 1 <= len(entry.key) <= MAX_KEY or not 1 <= len(entry.peer) <= MAX_PEER_ID or entry.lamport < 1:
        return False
    if entry.value is None:
        return True
    if len(entry.value) > MAX_VALUE:
        return False
    try:
        value = plain(entry.value)
    except (ValueError, msgspec.DecodeError):
        return False
    return not_too_deep(entry.value, value)


def not_too_deep(text: bytes, value: Any) -> bool:
    """Tell whether a value, of which both forms are given, is nested in so few levels that it can travel."""
    if text.count(b"[") + text.count(b"{") <= VALUE_DEPTH:
        return True
    level = [value]
    for _ in range(VALUE_DEPTH):
        level = [each for one in level if isinstance(one, dict | list) for each in _within(one)]
        if not level:
            return True
    return False


def _within(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


class Packing:
    """Fills pages with items."""

    def __init__(self, pages: int) -> None:
        self._left = pages
        self._room = 0
        self.pages: list[list[Raw]] = []

    def add(self, item: Raw) -> bool:
        """Put an item on the last page or a new one; false when all pages are full."""
        size = memoryview(item).nbytes + 1
        if size > self._room:
            if not self._left:
                return False
            self._left -= 1
            self._room = PAGE_BYTES
            self.pages.append([])
        self._room -= size
        self.pages[-1].append(item)
        return True


def answer(known: VersionedMap, asked: StateSync) -> Answer:
    """Return what the asker lacks, or the beginning of it; the last message ends the answer."""
    entries, versions = Packing(PAGES_AT_ONCE), Packing(PAGES_AT_ONCE)
    resume = None
    if asked.wants:
        _put_wanted(known, asked.wants, entries)
    else:
        resume = _put_differing(known, asked, entries, versions)
    told: Answer = [StateVersions(asked.channel, tuple(page)) for page in versions.pages]
    pages = entries.pages or [[]]
    for number, page in enumerate(pages, 1):
        last = number == len(pages)
        told.append(
            StatePage(asked.channel, known.root, tuple(page), known.clock, last, resume if last else None),
        )
    return told


def _put_wanted(known: VersionedMap, wants: Iterable[str], entries: Packing) -> None:
    for key in wants:
        entry = known.known(key)
        if entry is not None and not entries.add(packed(entry)):
            return


def _put_differing(known: VersionedMap, asked: StateSync, entries: Packing, versions: Packing) -> int | None:
    """Put down what is in each bucket that differs: all of it where the asker has nothing, else in what version.

    Returns the bucket in which there was no room any more.
    """
    theirs = _hashes(asked.hashes)
    for bucket in range(max(asked.start, 0), BUCKETS):
        if theirs[bucket] == known.hash_of(bucket):
            continue
        for entry, hashed in known.in_bucket(bucket):
            if theirs[bucket]:
                if not versions.add(Raw(_encode((*entry[:3], f"{hashed:x}")))):
                    return bucket
            elif entry.value is not None and not entries.add(packed(entry)):
                return bucket
    return None


def _hashes(text: str) -> list[int]:
    """Read the hashes of the buckets; those that are not there are of empty ones."""
    found = [0] * BUCKETS
    try:
        for bucket in range(min(BUCKETS, len(text) // DIGITS)):
            found[bucket] = int(text[bucket * DIGITS : (bucket + 1) * DIGITS], 16)
    except ValueError:
        pass
    return found


def lacking(known: VersionedMap, items: Iterable[Raw]) -> Iterator[str]:
    """Yield the keys of which somebody has listed a later write than is known."""
    for item in items:
        try:
            listed = _listed(item)
            if known.lacks(listed.key, listed.lamport, listed.peer, int(listed.hash, 16)):
                yield listed.key
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            continue
