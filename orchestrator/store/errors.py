"""What a store refuses, and what can be wrong with the file that it keeps its tasks in."""

from __future__ import annotations

from orchestrator.errors import LeaseLost as LeaseLost
from orchestrator.errors import OrchestratorError, StoreUnavailable
from orchestrator.errors import UnknownTask as UnknownTask


class TaskExists(OrchestratorError):
    """The id of a new task is that of somebody else's; nothing was stored."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(task_id)

    def __str__(self) -> str:
        return f"the task id {self.task_id} is taken by a task of another caller; nothing was stored"


class StoreRefused(OrchestratorError):
    """Somebody asked the store for what it may not do; nothing was changed."""

    def __init__(self, who: str, wish: str, remedy: str) -> None:
        """`wish` is what it asked for, ``enqueue to 'writer'``; `remedy` says how the topology would allow it."""
        self.who, self.wish, self.remedy = who, wish, remedy
        super().__init__(who, wish, remedy)

    def __str__(self) -> str:
        return f"{self.who} may not {self.wish}: {self.remedy}"


class StoreUnfit(StoreUnavailable):
    """The engine cannot keep what is asked of a store: it was not opened, and trying again changes nothing by itself."""

    def __init__(self, store: str, found: str) -> None:
        """`store` names the engine without its credentials; `found` is why, and what to do."""
        self.store, self.found = store, found
        super().__init__(store, found)

    def __str__(self) -> str:
        return f"the store {self.store} {self.found}"


class StoreFileProblem(StoreUnavailable):
    """The root of what can be wrong with a store's file; nothing that was acknowledged is lost by being told so."""

    advice = ""

    def __init__(self, file: str, found: str) -> None:
        self.file, self.found = file, found
        super().__init__(file, found)

    def __str__(self) -> str:
        return f"the store {self.file} {self.found}; {self.advice}"


class StoreFull(StoreFileProblem):
    """There is no room to write; it works again as soon as there is."""

    advice = "free space where it lies; nothing needs to be restarted after that"


class StoreReadOnly(StoreFileProblem):
    """The file, its folder or its file system does not let itself be written."""

    advice = "let its owner write to the file and to its folder; nothing needs to be restarted after that"


class StoreLocked(StoreFileProblem):
    """Another process has the file; `pid` is which one, `None` = it left no trace."""

    advice = "stop that process, or give this one another file"

    def __init__(self, file: str, found: str, pid: int | None = None) -> None:
        super().__init__(file, found)
        self.pid = pid


class StoreDamaged(StoreFileProblem):
    """What is in the file is not what was written to it. None of it is served."""

    advice = "restore the file and its -wal from a backup, or move it away to begin with an empty store"


class StoreFailing(StoreFileProblem):
    """The disk did not do what it was asked to."""

    advice = "look into the system's log; the next request tries again"


class StoreTooNew(StoreFileProblem):
    """A later release wrote the file."""

    advice = "use the release that wrote it, or one after that"
