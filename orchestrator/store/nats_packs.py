"""Requests that did not fit into one batch: what was written of them counts once the stream says that it is all there."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.store.nats_record import Record


STORED: Final = b"stored"
VOID: Final = b"void"
"""What is said of a pack, once and for all."""


class Packs:
    """What somebody who follows the stream knows of them, each by the subject on which it is said."""

    def __init__(self) -> None:
        self._stored: dict[str, int] = {}
        """With the number of the message that said so."""
        self._staged: defaultdict[str, list[tuple[Record, int]]] = defaultdict(list)

    def told(self, subject: str, seq: int, data: bytes) -> list[tuple[Record, int]]:
        """Take in what is said of a pack; return what counts from now on."""
        staged = self._staged.pop(subject, [])
        if data != STORED:
            self._stored.pop(subject, None)
            return []
        self._stored[subject] = seq
        return staged

    def counts(self, subject: str, record: Record, seq: int) -> bool:
        """Tell whether a record counts; one that does not is kept until something is said. Empty = it is in no pack."""
        if not subject or subject in self._stored:
            return True
        self._staged[subject].append((record, seq))
        return False

    def said(self, subject: str) -> int:
        """Return the number of the message that said that a pack is stored."""
        return self._stored[subject]

    def oldest(self) -> int | None:
        """Return the number of the first record of which nothing is said; `None` = there is none."""
        return min((seq for staged in self._staged.values() for _, seq in staged), default=None)
