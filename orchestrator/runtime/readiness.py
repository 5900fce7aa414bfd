"""Who of a run's replicas is ready, as a value that facts change: no process, no clock."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Standing(Enum):
    STARTING = "starting"
    READY = "ready"
    OFFLINE = "offline"
    """It was ready, and has lost its connection to the hub."""
    GONE = "gone"
    """It ended, and may be started again."""
    OVER = "over"
    """It will not be started again."""


class Readiness:
    """The standing of each replica, by peer id. Facts about anything else are passed over."""

    def __init__(self, names: Iterable[str]) -> None:
        self._standing = dict.fromkeys(names, Standing.GONE)

    def __getitem__(self, name: str) -> Standing:
        return self._standing[name]

    def __contains__(self, name: str) -> bool:
        return name in self._standing

    def planned(self, names: Iterable[str]) -> None:
        """These are the replicas from now on; those that stay stand as they did."""
        self._standing = {name: self._standing.get(name, Standing.GONE) for name in names}

    def started(self, name: str) -> None:
        self._become(name, Standing.STARTING)

    def ready(self, name: str) -> None:
        self._become(name, Standing.READY)

    def online(self, name: str, online: bool) -> bool:
        """The connection of a replica came or went; return whether that is news, as it is not before it was ready."""
        before, after = (Standing.OFFLINE, Standing.READY) if online else (Standing.READY, Standing.OFFLINE)
        if self._standing.get(name) is not before:
            return False
        self._become(name, after)
        return True

    def gone(self, name: str, *, for_good: bool = False) -> None:
        self._become(name, Standing.OVER if for_good else Standing.GONE)

    def _become(self, name: str, standing: Standing) -> None:
        if name in self._standing:
            self._standing[name] = standing

    @property
    def over(self) -> tuple[str, ...]:
        return tuple(name for name, standing in self._standing.items() if standing is Standing.OVER)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Those that are not ready."""
        return tuple(name for name, standing in self._standing.items() if standing is not Standing.READY)

    @property
    def complete(self) -> bool:
        """All are ready at once."""
        return all(standing is Standing.READY for standing in self._standing.values())

    @property
    def hopeless(self) -> bool:
        """All will never be ready at once."""
        return bool(self.over)

    @property
    def partial(self) -> bool:
        """Some are ready, the others will never be: nothing further is to be waited for."""
        standings = set(self._standing.values())
        return standings == {Standing.READY, Standing.OVER}
