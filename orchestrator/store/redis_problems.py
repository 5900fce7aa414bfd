"""What a server of Redis refuses, in sentences."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import StoreUnavailable

_SAID: Final = {
    "OOM": "is full: raise 'maxmemory', or purge tasks that have ended; nothing needs to be started again after that",
    "MISCONF": "cannot write its file: look into its log, and at its disk; nothing needs to be started again after that",
    "READONLY": "is a replica by now, and takes nothing",
    "MASTERDOWN": "is a replica, and takes nothing",
    "LOADING": "reads its file, and answers as soon as it has done so",
    "BUSY": "is busy with a script of somebody else's",
    "CLUSTERDOWN": "is part of a cluster that is down",
    "TRYAGAIN": "is part of a cluster that moves its keys just now",
    "WRONGPASS": "does not know this user, or its password",
    "NOAUTH": "wants a user or a password, and its address names none",
    "NOPERM": "does not let its user do what a store needs; docs/shared-stores.md lists the rules",
}


def refused(name: str, reply: Exception) -> StoreUnavailable:
    """Return what an error that the server answered comes to; `name` = the server's address without its credentials."""
    word, _, rest = str(reply).partition(" ")
    said = _SAID.get(word)
    if said is None:
        said = f"refused: {word} {rest}"
    elif word == "NOPERM":
        said = f"{said} ({rest})"
    return StoreUnavailable(f"the store {name} {said}")


def is_demoted(reply: Exception) -> bool:
    """Whether a server has become one that takes nothing, so that another one may have taken its place."""
    return str(reply).startswith(("READONLY", "MASTERDOWN"))


def moved_to(reply: Exception) -> tuple[str, int] | None:
    """Return where a cluster keeps the keys that were asked for, if it said that; an empty host = the same one."""
    words = str(reply).split(" ")
    if words[0] != "MOVED" or len(words) < 3:
        return None
    host, _, port = words[2].rpartition(":")
    return (host, int(port)) if port.isdecimal() else None
