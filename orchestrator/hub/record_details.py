"""What the lines of each kind have to hold to be of use: a recording may come from anywhere, and is looked at before it is fed
to a hub."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec

from orchestrator.hub.rosters import Reason
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import Action, CloseCode
from orchestrator.protocol.globs import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.record_lines import Line

LONGEST: Final = 16 * 1024 * 1024
"""Bytes of a line, and of a message of which it gives the size; none that a hub has taken comes near it."""


class _Hub(TypedDict):
    wall: float
    settings: dict[str, Any]
    joined: bool


class _Grants(TypedDict, total=False):
    subscribe: list[str]
    observe: list[str]
    publish: list[str]
    presence: list[str]
    send: list[str]


class _Connect(TypedDict):
    peer: str
    wall: float
    app: str
    instance: str | None
    expires: int | None
    rate: tuple[float, int] | None
    actions: list[Action]
    scopes: list[list[str]]
    grants: _Grants | None
    public: str | None
    private: Any


class _Gap(TypedDict):
    missing: int
    since: float


# As a call, since "from" is no name.
_Broadcast = TypedDict(
    "_Broadcast", {"app": str, "channel": str, "from": str, "data": str, "metadata": str | None, "id": str | None}
)

_DETAILS: Final[dict[str, Any]] = {
    "hub": _Hub,
    "connect": _Connect,
    "broadcast": _Broadcast,
    "gap": _Gap,
    "kick": tuple[str, str],
    "rekey": list[tuple[int, CloseCode]],
    "end": tuple[CloseCode, str, Reason],
    "drain": tuple[float, float, int],
}


def check(line: Line) -> None:
    """Raises `ValueError`, of which `msgspec.ValidationError` is one, for a line that holds something else than its kind has.

    What may be large is compared with `LONGEST`.
    """
    if line.b is not None:
        base64.b64decode(line.b, validate=True)
    form = _DETAILS.get(line.k)
    if form is not None:
        line.d = msgspec.convert(line.d, form)
    more = _MORE.get(line.k)
    if more is not None:
        more(line)


def _check_hub(line: Line) -> None:
    msgspec.convert(line.d["settings"], Settings)


def _check_identity(line: Line) -> None:
    said = line.d
    if said["public"] is not None:
        msgspec.json.decode(said["public"])
    for patterns in [*said["scopes"], *(said["grants"] or {}).values()]:
        for pattern in patterns:
            compiled(pattern)


def _check_broadcast(line: Line) -> None:
    for text in (line.d["data"], line.d["metadata"]):
        if text is not None:
            msgspec.json.decode(text)


def _check_reason(line: Line) -> None:
    Reason(line.x)


def _check_code(line: Line) -> None:
    CloseCode(line.n)


def _check_size(line: Line) -> None:
    if not 0 <= line.n <= LONGEST:
        raise ValueError(f"a message of {line.n} bytes")


_MORE: Final[dict[str, Callable[[Line], None]]] = {
    "hub": _check_hub,
    "connect": _check_identity,
    "broadcast": _check_broadcast,
    "disconnect": _check_reason,
    "violation": _check_code,
    "in": _check_size,
    "binary": _check_size,
}
