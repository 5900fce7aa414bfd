"""Scopes as people read them: the table, the claims, what the flat form adds, and what a change does."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.protocol.tokens import Grants
    from orchestrator.topology.over_grants import OverGrants
    from orchestrator.topology.scope_diff import PeerChange
    from orchestrator.topology.scope_table import ScopeSection
    from orchestrator.topology.scopes import Need

ACTIONS: Final = {
    "subscribe": "subscribe",
    "observe": "observe",
    "publish": "publish",
    "presence": "see presence",
    "send": "send to",
}
"""The fields of grants, and what each is called here."""
_COLUMNS: Final = ("subscribe", "observe", "publish", "send")
_RELATIONS: Final = {
    "worker": "worker of",
    "coordinator": "coordinator of",
    "team": "team",
    "lobby member": "in lobby",
    "lobby watcher": "watches lobby",
    "asked": "asked by",
    "asks": "asks",
    "scopes": "scopes of the file",
}
_MANY: Final = 4
"""Names after which the others of a relation are counted."""


def table(section: ScopeSection) -> Iterator[str]:
    """Show one agent, with its replicas as one, or one kind of user."""
    peers = [token.peer for token in section.tokens]
    own = peers[0] if len(peers) > 1 else None
    each = " each" if own else ""
    yield f"{section.name}  {section.kind}  {_span(peers)}, tokens live {duration(section.token_ttl)}{each}"
    yield from _rows(section.needs, own)
    yield f"  claims of {own}" if own else "  claims"
    for name, value in section.tokens[0].claims.items():
        yield from (f"    {line}" for line in _claim(name, value))
    yield from flat_text(section.flat, own)


def _rows(needs: Sequence[Need], own: str | None) -> Iterator[str]:
    rows = [[["relation"], *([ACTIONS[name]] for name in _COLUMNS)]]
    for need in needs:
        cells = [[_anonymous(text, own) for text in getattr(need.grants, name)] for name in _COLUMNS]
        rows.append([[_relation(need)], *cells])
    widths = [max(len(line) for row in rows for line in row[at] or [""]) for at in range(len(rows[0]))]
    for row in rows:
        for line in itertools.zip_longest(*row, fillvalue=""):
            yield "  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()


def _relation(need: Need) -> str:
    others = ", ".join(need.others if len(need.others) <= _MANY else need.others[: _MANY - 1])
    more = f" and {len(need.others) - _MANY + 1} more" if len(need.others) > _MANY else ""
    return f"{_RELATIONS[need.relation]} {others}{more}".rstrip() if need.others else _alone(need)


def _alone(need: Need) -> str:
    return "worker of nobody" if need.relation == "worker" else _RELATIONS[need.relation]


def _claim(name: str, value: Any) -> Iterator[str]:
    if name == "grants":
        for action, patterns in value.items():
            yield _line(f"grants.{action}", patterns)
    elif isinstance(value, list):
        yield _line(name, value or ["none"])
    else:
        yield _line(name, [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)])


def _line(title: str, values: Iterable[str]) -> str:
    return f"{title:<17} {'  '.join(values)}"


def flat_text(flat: OverGrants, own: str | None = None) -> Iterator[str]:
    """Show what the flat claims allow beyond the grants; `own` = a replica that stands for all of its agent."""
    if not flat:
        yield "  a service that knows no grants allows nothing more"
        return
    yield "  a service that knows no grants also lets it"
    rows = {
        "subscribe to": flat.subscribe,
        "publish to": flat.publish,
        "see presence of": flat.presence,
        "be listed on": flat.listed,
        "send to": ("every peer",) if flat.send else (),
    }
    for title, patterns in rows.items():
        if patterns:
            yield f"    {_line(title, [_anonymous(pattern, own) for pattern in patterns])}"


def grants_text(grants: Grants, mark: str, own: str | None = None) -> Iterator[str]:
    for name, title in ACTIONS.items():
        patterns = getattr(grants, name)
        if patterns:
            yield f"  {mark}{title:<13} {'  '.join(_anonymous(pattern, own) for pattern in patterns)}"


def difference(changes: Iterable[PeerChange]) -> Iterator[str]:
    """Show changes, those of alike replicas as one."""
    for (_, kind, lines), alike in itertools.groupby(changes, _alike):
        yield _span([change.peer for change in alike]) + ("" if kind == "changed" else f"  {kind}")
        yield from lines


def _alike(change: PeerChange) -> tuple[str, str, tuple[str, ...]]:
    """Return what is told of a change, without what replicas differ in."""
    granted = grants_text(change.granted, "+ ", change.peer)
    withdrawn = grants_text(change.withdrawn, "- ", change.peer)
    return change.owner, change.kind, (*granted, *withdrawn)


def _anonymous(text: str, own: str | None) -> str:
    """Return a channel of a replica's own as that of any replica."""
    return "tasks/{peer}" if own is not None and text == f"tasks/{own}" else text


def _span(peers: Sequence[str]) -> str:
    return peers[0] if len(peers) == 1 else f"{peers[0]} … {peers[-1]}"


_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_DAYS: Final = 2 * 86_400
"""Seconds from which days are counted."""


def duration(seconds: float) -> str:
    """Return seconds in the largest units, two at most: ``15m``, ``1h 30m``."""
    if 0 < seconds < 1:
        return "less than 1s"
    left, parts = int(seconds), []
    for size, unit in _UNITS if seconds >= _DAYS else _UNITS[1:]:
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2]) or "0s"
