"""Logs in every way that a handler may, for a test to read."""

from __future__ import annotations

import logging
import sys
import warnings

import structlog

from orchestrator.runtime.logs import configure_child


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("not to be said")


configure_child({"peer": "writer.1", "agent": "writer", "replica": 1}, sys.argv[1])
log = structlog.get_logger().bind(task="8f2a")
log.debug("detail")
log.info("taken", size=3, odd={1: {2}}, peer="not me")
log.info("strange", value=Unspeakable(), text="\ud800", event_kind=object)
try:
    raise ValueError("no")
except ValueError:
    log.exception("failed")
    logging.getLogger("library").exception("also %s", "failed", extra={"shelf": 7})
logging.getLogger("httpx").info("a request")
logging.getLogger("library").info("a note")
logging.raiseExceptions = False
logging.getLogger("library").info("%d does not fit", "this")
warnings.warn("careful", stacklevel=1)
print("printed")
