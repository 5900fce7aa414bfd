from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from orchestrator.runtime.console import render_json
from orchestrator.runtime.output import Output
from orchestrator.runtime.own_logs import route_structlog, routed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_warnings_and_errors_of_libraries_are_said_in_the_name_of_the_run() -> None:
    log = io.StringIO()
    output = Output(render_json, "info", log=log, answers=io.StringIO())
    library = logging.getLogger("library")
    with routed(output):
        library.info("about itself")
        library.warning("careful with %s", "that")
        try:
            raise ValueError("no")
        except ValueError:
            library.exception("it failed")
    output.close()
    careful, failed = read(log)
    assert (careful["process"], careful["level"], careful["event"]) == ("run", "warning", "careful with that")
    assert failed["logger"] == "library"
    assert failed["exception"].rstrip().endswith("ValueError: no")


@pytest.mark.usefixtures("unconfigured")
def test_what_is_logged_by_structlog_goes_to_the_log_and_not_between_the_answers() -> None:
    log = io.StringIO()
    output = Output(render_json, "info", log=log, answers=io.StringIO())
    route_structlog(output)
    structlog.get_logger().bind(task_id="8f2a").info("lost", size=3)
    structlog.get_logger().debug("too fine")
    output.close()
    [said] = read(log)
    assert (said["event"], said["task_id"], said["size"]) == ("lost", "8f2a", 3)


def read(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]
