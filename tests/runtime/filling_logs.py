"""A program that writes log files to a file system of 1 MB until it is full, makes room, and goes on; what it saw is
printed as JSON. It mounts that file system itself, in a namespace of its own: ``unshare --mount python -m … FOLDER``."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

from orchestrator.runtime.console import render_json
from orchestrator.runtime.log_files import LogFiles
from orchestrator.runtime.output import Output
from orchestrator.runtime.records import Record, Source
from tests.runtime.operated import until

LOUD = Source("loud.1", "loud", 1)


def main(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    console = io.StringIO()
    files = LogFiles(folder / "logs")
    output = Output(render_json, "info", log=console, answers=io.StringIO(), files=files)

    def said(event: str) -> int:
        return console.getvalue().count(event)

    for number in range(1_000):
        output.put(LOUD, Record(float(number), "info", "x" * 1_000))
    until(lambda: said("cannot be written") > 0)
    for number in range(1_000, 1_100):
        output.put(LOUD, Record(float(number), "info", "x" * 1_000))
    output.say("info", "the console goes on")
    until(lambda: said("the console goes on") > 0)
    until(lambda: len(files._waiting) == 0)  # what still waits would take the room that is made
    ballast.unlink()

    def healed() -> bool:
        output.put(LOUD, Record(5_000.0, "info", "healed"))
        return said("are written again") > 0

    until(healed)
    output.close(patience=10)
    lines = [json.loads(line) for line in (folder / "logs" / "loud.1.log").read_text().splitlines()]
    lost = next(json.loads(line)["count"] for line in console.getvalue().splitlines() if "are written again" in line)
    print(
        json.dumps(
            {
                "complaints": said("cannot be written"),
                "sentence": next(
                    json.loads(line)["event"] for line in console.getvalue().splitlines() if "cannot be" in line
                ),
                "whole": all(line["event"] in ("x" * 1_000, "healed", "log lines were dropped") for line in lines),
                "written": len(lines),
                "lost": lost,
                "last": lines[-1]["event"],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
