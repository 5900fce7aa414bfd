"""What is logged while a topology runs within a test: every record as a dictionary, none of it printed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping


class Captured:
    """Records in the order in which they were logged: `event`, `level`, `at` in seconds, and whatever came with them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.records: list[dict[str, Any]] = []
        self._clock = clock

    def logger(self, **identity: Any) -> Any:
        """Return a logger whose records hold `identity`, whatever structlog is configured to do elsewhere."""
        everything = structlog.make_filtering_bound_logger(0)
        return structlog.wrap_logger(None, processors=[self._take], wrapper_class=everything, **identity)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Capture what is logged through structlog's own configuration, too, while this is entered."""
        configured, was = structlog.get_config(), structlog.is_configured()
        processors = configured["processors"]
        before = list(processors)
        # Every level, whatever the program lets through: else what is captured would depend on what ran before.
        structlog.configure(**{**configured, "wrapper_class": structlog.make_filtering_bound_logger(0)})
        processors[:] = [self._take]  # in place: loggers that are bound already hold this very list
        try:
            yield
        finally:
            processors[:] = before
            if was:
                structlog.configure(**configured)
            else:
                structlog.reset_defaults()

    def _take(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        self.records.append({"at": round(self._clock(), 6), "level": level, **event})
        raise structlog.DropEvent
