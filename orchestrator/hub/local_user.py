"""Whether the other end of a connection is a process of the hub's own user, on this machine.

A page in a browser can be led to any address, loopback too, but not to say another name in `Host` than the one that it
was loaded from. So whoever is asked by the name of loopback is not asked for a page that was loaded from elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_HOST: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_PROXYS: Final = frozenset({"forwarded", "via", "x-real-ip"})
_ESTABLISHED: Final = "01"
_STATE, _USER = 3, 7
"""Columns of the table."""
_ROOT: Final = 0

End = tuple[str, int]
"""An address, IPv4 or IPv6, and a port."""


def is_loopback(address: str) -> bool:
    read = _read(address)
    if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped is not None:
        return read.ipv4_mapped.is_loopback
    return read is not None and read.is_loopback


def names_loopback(hosts: Sequence[str]) -> bool:
    """Tell whether the `Host` headers of a request, of which there is to be one, name this machine to itself."""
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


def is_passed_on(headers: Iterable[str]) -> bool:
    """Tell whether the names of a request's headers say that a proxy has sent it, for whomever that may be."""
    return any(name.startswith("x-forwarded-") or name in _PROXYS for name in map(str.lower, headers))


def same_user(here: End, there: End, users: Collection[int] | None = None, tables: Sequence[Path] = TABLES) -> bool:
    """Tell whether the process at the other end of a connection within this machine is one of `users`; `None` = those of
    this process, and root.

    Where the system keeps no tables that list the connection, nobody can tell, and the answer is yes: being on this
    machine is all that is asked then. It reads as much as there are connections, so it is no work for an event loop.
    """
    wanted = frozenset({os.geteuid(), _ROOT}) if users is None else users
    texts = []
    for table in tables:
        try:
            texts.append(table.read_text("ascii", "replace"))
        except OSError:
            continue
    return owned_by(texts, here, there, wanted)


def owned_by(tables: Sequence[str], here: End, there: End, users: Collection[int]) -> bool:
    """Do what `same_user` does with the texts of the tables.

    An end that nobody holds any more is listed as root's, so what counts is one whose connection is whole.
    """
    for line in _lines(tables, there, here):
        if line[_STATE] == _ESTABLISHED:
            return line[_USER].isdigit() and int(line[_USER]) in users
    return not any(_lines(tables, here, there))


def _lines(tables: Sequence[str], local: End, remote: End) -> Iterable[list[str]]:
    """Yield the lines about an end of a connection, in columns. It may be listed by either kind of address."""
    for table in tables:
        for mapped in (False, True):
            ends = [_written(end, mapped=mapped) for end in (local, remote)]
            if None in ends:
                continue
            start = -1
            wanted = f": {ends[0]} {ends[1]} "
            while (start := table.find(wanted, start + 1)) >= 0:
                line = table[start : table.find("\n", start)].split()
                if len(line) > _USER:
                    yield line


def _written(end: End, *, mapped: bool) -> str | None:
    """Return an end as the tables have it: each 32 bits of its address as this machine keeps them, in hexadecimal.

    `mapped` is for an IPv4 address within IPv6; `None` = it is not to be had so.
    """
    read = _read(end[0])
    if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped is not None:
        read = read.ipv4_mapped
    if read is None or (mapped and isinstance(read, ipaddress.IPv6Address)):
        return None
    packed = (b"\0" * 10 + b"\xff\xff" if mapped else b"") + read.packed
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"


def _read(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
