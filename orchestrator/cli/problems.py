"""What is wrong with a topology, for people with the line it stands in, for programs as JSON, and as annotations."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from orchestrator.errors import Problem, TopologyError

Form: TypeAlias = Literal["text", "json", "github"]
Severity: TypeAlias = Literal["error", "warning"]

FORMS: Final[tuple[Form, ...]] = ("text", "json", "github")

MAX_SHOWN: Final = 200
"""Problems that are shown with the line that they stand in; of more, nobody reads the lines."""
_BOLD: Final = "1"
_BLUE: Final = "34"
_COLOURS: Final[dict[Severity, str]] = {"error": "31", "warning": "33"}


def render(
    problems: Sequence[Problem],
    texts: Mapping[str, str],
    form: Form,
    severity: Severity,
    *,
    colour: bool = False,
) -> str:
    """Return problems in one of the forms, ending with a line break; an empty text where there is nothing to say.

    `texts` is what was read, by the name of the file; the lines shown of it, and the sentences, hold no secret. Lines
    are shown for the first `MAX_SHOWN` problems.
    Without problems, JSON is an empty list.
    """
    if form == "json":
        return as_json(described(problems, severity))
    if form == "github":
        return "".join(f"{_annotation(problem, severity)}\n" for problem in problems)
    shown = [_told(problem, texts, severity, colour) for problem in problems[:MAX_SHOWN]]
    return "\n".join([*shown, *(_told(problem, {}, severity, colour) for problem in problems[MAX_SHOWN:])])


# -- for people


def _told(problem: Problem, texts: Mapping[str, str], severity: Severity, colour: bool) -> str:
    """Return the place and the sentence, the line of the file, and what else there is to say."""
    where = f"{problem.source}:{problem.line}:{problem.column}" if problem.line else problem.source
    first, _, rest = _sentence(problem).partition("\n")
    word = "" if severity == "error" else f"{_painted(severity, _COLOURS[severity], colour)}: "
    told = f"{problem.path}: {first}" if problem.path else first
    code = f" [{problem.code}]" if problem.code else ""
    lines = [f"{_painted(where, _BOLD, colour)}: {word}{told}{code}"]
    lines += _shown(problem, texts, severity, colour)
    return "\n".join([*lines, *rest.split("\n")] if rest else lines) + "\n"


def _shown(problem: Problem, texts: Mapping[str, str], severity: Severity, colour: bool) -> list[str]:
    from orchestrator.cli.excerpts import excerpt

    if not problem.line or problem.source not in texts:
        return []
    found = excerpt(texts[problem.source], problem.line, problem.column)
    if found is None or not found.line:
        return []
    number = f"{problem.line:>5}"
    bar, caret = _painted("|", _BLUE, colour), _painted("^", _COLOURS[severity], colour)
    return [
        f"{_painted(number, _BLUE, colour)} {bar} {found.line}",
        f"{' ' * len(number)} {bar} {' ' * found.caret}{caret}",
    ]


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _sentence(problem: Problem) -> str:
    from orchestrator.topology.masking import masked

    return masked(problem.sentence)


def wants_colour(stream: TextIO) -> bool:
    """Tell whether what is written to a stream is seen in colour by a person who did not ask for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# -- for programs


def described(problems: Sequence[Problem], severity: Severity) -> list[dict[str, Any]]:
    """Return problems as JSON has them: the keys of `Problem`, and its severity."""
    return [
        {
            "source": problem.source,
            "line": problem.line,
            "column": problem.column,
            "path": problem.path,
            "sentence": _sentence(problem),
            "code": problem.code,
            "severity": severity,
        }
        for problem in problems
    ]


def as_json(objects: Sequence[Mapping[str, Any]]) -> str:
    import json

    return f"{json.dumps(objects, indent=2, ensure_ascii=False)}\n"


def _annotation(problem: Problem, severity: Severity) -> str:
    """Return a workflow command, which a runner shows beside the line that it is about."""
    place = {"line": str(problem.line), "col": str(problem.column)} if problem.line else {}
    title = problem.code or problem.path or "topology"
    properties = {"file": problem.source, **place, "title": title}
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    told = f"{problem.path}: {_sentence(problem)}" if problem.path else _sentence(problem)
    return f"::{severity} {given}::{_data(told)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# -- where they go


def report(error: TopologyError, form: Form) -> None:
    """Print what is wrong: for people to standard error, in another form to standard output."""
    stream = sys.stderr if form == "text" else sys.stdout
    stream.write(render(error.problems, error.texts, form, "error", colour=wants_colour(stream)))
    if form == "text" and len(error.problems) > 1:
        stream.write(f"\n{len(error.problems)} mistakes\n")
