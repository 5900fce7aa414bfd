"""The files of a hub's certificate: whether they are there, and hold what they should, as far as can be seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology

MAX_BYTES: Final = 1_048_576
"""Of a file that is looked at; chains of certificates are far shorter."""
_CERTIFICATE: Final = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----\s*$", re.MULTILINE)
_PRIVATE_KEY: Final = re.compile(rb"^-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*$", re.MULTILINE)
_WANTED: Final = (("cert", _CERTIFICATE, "certificate"), ("key", _PRIVATE_KEY, "private key"))


def check_certificates(topology: Topology) -> Iterator[Problem]:
    """Yield what is wrong with the files under `hub.tls`; a relative path begins at the file that it stands in.

    Looks for the marks of PEM alone: whether certificate and key belong together, the hub says.
    """
    tls, origin = topology.hub.tls, topology.origin
    if tls is None:
        return
    for key, marks, what in _WANTED:
        steps = ("hub", "tls", key)
        named: str = getattr(tls, key)
        sentence = _fault(_beside(topology, steps, named), marks, what)
        if sentence is not None:
            yield origin.at_value(steps, sentence)


def files_of(topology: Topology) -> tuple[Path, Path] | None:
    """Return where the certificate of a local hub and its key are; `None` for a hub without TLS."""
    tls = topology.hub.tls
    if tls is None:
        return None
    cert, key = (_beside(topology, ("hub", "tls", name), getattr(tls, name)).absolute() for name in ("cert", "key"))
    return cert, key


def _beside(topology: Topology, steps: tuple[str, ...], named: str) -> Path:
    origin = topology.origin
    source = origin.spot(steps).value.source or origin.source
    first = origin.path if source == origin.source else Path(source)
    return first.parent / named


def _fault(path: Path, marks: re.Pattern[bytes], what: str) -> str | None:
    try:
        if path.exists() and not path.is_file():  # a pipe would keep whoever opens it waiting
            return f"{str(path)!r} is no file but {'a directory' if path.is_dir() else 'a device'}"
        with path.open("rb") as file:
            content = file.read(MAX_BYTES)
    except FileNotFoundError:
        near = sorted(other.name for other in path.parent.glob("*")) if path.parent.is_dir() else []
        return f"there is no file {str(path)!r}{did_you_mean(path.name, near)}"
    except OSError as error:
        return f"the file {str(path)!r} cannot be read: {(error.strerror or str(error)).lower()}"
    if marks.search(content):
        return None
    other = next((known for _, pattern, known in _WANTED if pattern is not marks and pattern.search(content)), None)
    hint = "" if other is None else f"; it holds a {other}"
    return f"the file {str(path)!r} holds no {what} in PEM, which begins '-----BEGIN'{hint}"
