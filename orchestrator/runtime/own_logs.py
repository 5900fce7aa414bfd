"""What libraries say in the parent process itself goes into its log like everything else, in the name of the run."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.runtime.records import RUN, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from orchestrator.runtime.output import Output


class _Handler(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__(logging.WARNING)  # below it, libraries tell about themselves, not about the run
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.put(RUN, _read(record))
        except Exception:  # noqa: BLE001 - as in every handler: arguments that do not fit are told on standard error
            self.handleError(record)


def _read(record: logging.LogRecord) -> Record:
    exception = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
    return Record(record.created, record.levelname.lower(), record.getMessage(), {"logger": record.name}, exception)


@contextmanager
def routed(output: Output) -> Iterator[None]:
    """While entered, warnings and errors of `logging`, asyncio's among them, go to `output`."""
    handler, root = _Handler(output), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def route_structlog(output: Output) -> None:
    """Have everything that this process logs by structlog go to `output`; where it is shared, it does already."""
    if "orchestrator.runtime.voices" in sys.modules:
        from orchestrator.runtime.voices import current

        if current() is not None:
            return
    import structlog  # a parent that asks nothing does not load it

    def tell(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
        level, said = event.pop("level"), str(event.pop("event", ""))
        output.tell(RUN, level, said, **{str(name).replace(" ", "_"): value for name, value in event.items()})
        raise structlog.DropEvent

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(0),  # it is `output` that knows from which level on
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            tell,
        ],
    )
