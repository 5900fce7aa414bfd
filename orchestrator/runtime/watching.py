"""`run --watch`: notices when a file changes that a run was made from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

CALM: Final = 300
"""Milliseconds without a further change after which one is told: editors write several files at once."""
SOURCES: Final = (".py", ".yaml", ".yml", ".env")


class NoWatch(OrchestratorError):
    """What watches files is not installed."""

    exit_code = ExitCode.USAGE


def check_watch() -> None:
    """Raises `NoWatch`."""
    try:
        import watchfiles  # noqa: F401 - an extra
    except ImportError:
        raise NoWatch(
            "--watch needs a package that is not installed: pip install 'topology-orchestrator[watch]'"
        ) from None


async def watch(folders: Collection[Path], files: Iterable[Path], changed: Callable[[], None]) -> None:
    """Call `changed` after each change of one of `files`, or of a source file below `folders`, until cancelled."""
    from watchfiles import Change, DefaultFilter, awatch

    single = {str(file) for file in files}
    usual = DefaultFilter()

    def counts(change: Change, path: str) -> bool:
        return path in single or (path.endswith(SOURCES) and usual(change, path))

    stop = asyncio.Event()
    try:
        async for _ in awatch(*folders, watch_filter=counts, debounce=CALM, stop_event=stop):
            changed()
    finally:
        stop.set()
