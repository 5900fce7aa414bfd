"""How many files a run may have open: as many as its processes need, while those get the limit that we were given."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from orchestrator.topology.plan import Plan

EACH: Final = 7
"""Files of one process while it is started: three pairs between it and us, and its log file."""
OWN: Final = 160
"""Files of the run itself: the libraries', the sockets that it listens on, and 64 commands that talk to it."""


class TooFewFiles(OrchestratorError):
    """The system does not let a run have as many files open as its processes need."""

    def __init__(self, processes: int, needed: int, allowed: int) -> None:
        self.processes, self.needed, self.allowed = processes, needed, allowed
        super().__init__(processes, needed, allowed)

    def __str__(self) -> str:
        return (
            f"a run of {self.processes} processes has up to {self.needed} files open, and the system allows "
            f"{self.allowed}: raise the hard limit (`ulimit -Hn`), or plan fewer replicas"
        )


_given: Final = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def given() -> int:
    """Return the soft limit that this process was started with, which its children get: programs that use ``select``
    cannot stand a greater one."""
    return _given


def lower(limit: int) -> None:
    """Have this process, and all that it starts, get along with this soft limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def reserve(plan: Plan) -> None:
    """Have this process be allowed what a run of `plan` needs. Raises `TooFewFiles`."""
    processes = len(plan.here) + 2  # with hub and store
    needed = processes * EACH + OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return
    if not _is_enough(hard, needed):
        raise TooFewFiles(processes, needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (OSError, ValueError):  # macOS has another limit beyond that one
        raise TooFewFiles(processes, needed, soft) from None


def _is_enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
