from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from orchestrator.runtime.records import read_record
from tests.runtime.processes import ENVIRONMENT


def logged(level: str) -> tuple[list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "tests.runtime.children.logging_child", level]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True, timeout=30)
    lines = ended.stderr.splitlines()
    assert all(read_record(line) is not None for line in lines)
    return [json.loads(line) for line in lines], ended.stdout.decode()


def test_everything_that_a_handler_logs_is_one_json_line_that_says_who_speaks() -> None:
    records, printed = logged("info")
    assert [record["event"].partition(" ")[0] for record in records[:5]] == ["taken", "strange", "failed", "also", "a"]
    taken, strange, failed, also, note, warned = records
    assert {"task": "8f2a", "size": 3, "peer": "writer.1", "agent": "writer", "replica": 1}.items() <= taken.items()
    assert taken["level"] == "info"
    assert taken["time"].endswith("Z")
    assert strange["value"] == "<Unspeakable whose repr raises RuntimeError>"
    assert strange["text"] == "\\ud800"
    assert failed["exception"].endswith("ValueError: no")
    assert (also["event"], also["shelf"], also["level"]) == ("also failed", 7, "error")
    assert note["event"] == "a note"
    assert (warned["level"], "careful" in warned["event"]) == ("warning", True)
    assert printed == "printed\n"


def test_below_its_level_nothing_is_written() -> None:
    assert [record["event"] for record in logged("error")[0]] == ["failed", "also failed"]
    assert "detail" in [record["event"] for record in logged("debug")[0]]
