"""What the parent of a run and its guardian tell each other: JSON, one message a line, with file descriptors beside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTROL: Final = 3
"""Descriptor under which a child finds its end of the control socket; those that it is lent follow from 4 on."""
LENT: Final = CONTROL + 1
STREAMS: Final = (CONTROL, 1, 2)
"""What the first three descriptors of a `Start` become in the child: its control socket, and where it prints."""


class Start(Struct, frozen=True, tag="start"):
    """Start a child; as many descriptors come along as `descriptors` says."""

    number: int
    """Which child; counted by the parent, and never used twice."""
    module: str
    title: str
    """What the system's lists of processes call it, where they can be told."""
    fork: bool
    """Fork it from the guardian, and have it call the module's `main`; else it becomes ``python -m MODULE 3``."""
    environment: tuple[bytes, ...]
    """``NAME=VALUE`` each, in full."""
    descriptors: int


class Signal(Struct, frozen=True, tag="signal"):
    """Send a signal to a child, and SIGKILL to its whole process group; nothing happens when it is gone."""

    number: int
    signal: int


class Started(Struct, frozen=True, tag="started"):
    number: int
    pid: int


class Refused(Struct, frozen=True, tag="refused"):
    """The system did not let a child be started."""

    number: int
    errno: int


class Ended(Struct, frozen=True, tag="ended"):
    number: int
    returncode: int
    """Negative for a signal."""


ToGuardian: TypeAlias = Start | Signal
FromGuardian: TypeAlias = Started | Refused | Ended

read_for_guardian: Final = msgspec.json.Decoder(ToGuardian).decode
read_from_guardian: Final = msgspec.json.Decoder(FromGuardian).decode
_encode: Final = msgspec.json.Encoder().encode


def line_of(message: ToGuardian | FromGuardian) -> bytes:
    return _encode(message) + b"\n"


def packed(environment: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return an environment as bytes: it may hold what is no text in any encoding."""
    return tuple(os.fsencode(f"{name}={value}") for name, value in environment.items())


def unpacked(environment: tuple[bytes, ...]) -> dict[bytes, bytes]:
    pairs = (item.partition(b"=") for item in environment)
    return {name: value for name, _, value in pairs}
