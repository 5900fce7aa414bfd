"""Topology files for tests, and what is read out of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import TopologyError
from orchestrator.topology.handlers import HandledTask, HandlerReport, Relation
from orchestrator.topology.load import parse_topology
from orchestrator.topology.model import Topology
from orchestrator.topology.section import Named, Section
from orchestrator.topology.validation import ABOUT_FILES

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRON: Final = {
    "SECRET": "hunter2",
    "REPLICAS": "3",
    "KEY": f"sk_id_a:sk_secret_{'b' * 40}",
    "SHORT_KEY": "sk_id_a:sk_secret_b",
}

SMALLEST: Final = """\
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, replicas: 3}
"""

DESK: Final = """\
version: 1
name: code-desk
coordinators:
  lead: {handler: "agents.code_desk:Lead", workers: [reviewer, narrator]}
workers:
  reviewer: {handler: "agents.code_desk:Reviewer", replicas: 3}
  narrator: {handler: "agents.code_desk:Narrator"}
agents:
  checker: {handler: "agents.code_desk:Checker", replicas: 2}
  concierge: {handler: "agents.code_desk:Concierge"}
teams:
  desk: {members: [lead, checker]}
presence:
  lobby: {members: [lead, reviewer, checker, narrator], watchers: [concierge]}
"""

REVIEW: Final = HandledTask("ReviewFile", "task", "review", "FileReport", idempotent=True)
NARRATE: Final = HandledTask("Narrate", "stream", "narrate", "str")
DESK_REPORTS: Final = {
    report.handler: report
    for report in (
        HandlerReport(
            "agents.code_desk:Lead",
            tasks=(HandledTask("Review", "stream", "review", "str", takes_prompt=True),),
            relations=(Relation("workers", "workers"), Relation("desk", "team")),
        ),
        HandlerReport("agents.code_desk:Reviewer", tasks=(REVIEW,)),
        HandlerReport("agents.code_desk:Narrator", tasks=(NARRATE,)),
        HandlerReport("agents.code_desk:Checker", events=("WorstFiles",), relations=(Relation("desk", "team"),)),
        HandlerReport("agents.code_desk:Concierge", relations=(Relation("lobby", "presence"),), watches_presence=True),
    )
}


class Broken:
    """A file with mistakes, and every line that is said of it, without the file's name."""

    def __init__(self, name: str, text: str, *lines: str) -> None:
        self.name, self.text, self.lines = name, text, list(lines)


def read(text: str | bytes, environ: Mapping[str, str] = ENVIRON) -> Topology:
    raw = text.encode() if isinstance(text, str) else text
    return parse_topology(raw, environ, source="topology.yaml", path=Path("topology.yaml"))


def keys_at(steps: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return the keys that the mapping at `steps` may have; none where it may have any, or is no mapping."""
    kind: object = Topology
    for step in steps:
        if isinstance(kind, Named):
            kind = kind.each
        elif isinstance(kind, type) and issubclass(kind, Section):
            kind = kind.fields()[step].kind if isinstance(step, str) and step in kind.keys else None
    keys = kind.keys if isinstance(kind, type) and issubclass(kind, Section) else ()
    return keys if steps else (*keys, *ABOUT_FILES)


def complaints(text: str | bytes, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    """Return what is wrong with a file, a line for each mistake; none for a good one."""
    try:
        read(text, environ)
    except TopologyError as error:
        return [str(problem).removeprefix("topology.yaml:").strip() for problem in error.problems]
    return []
