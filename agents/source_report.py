"""The report on many files: what is added up, what is worst, and the words for it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from agents.source_advice import MOST_COMPLEXITY, Advice
from agents.source_metrics import FileReport, Finding

WORST: Final = 6
"""Files that get a second look."""
LISTED: Final = 10
"""Entries of each list at most, so that a summary of any number of files fits one message; totals are never cut."""
LONGEST_NAME: Final = 120
"""Characters of a file's name; the end of it says more than the beginning."""


class Located(Finding):
    """A function or place in one of the files."""

    file: str
    line: int
    name: str
    """Empty for the module itself."""
    lines: int = 0
    complexity: int = 0


class Undocumented(Finding):
    """How many docstrings one file lacks, of how many that are expected."""

    file: str
    missing: int
    expected: int


class Trouble(Finding):
    """A file that was not reviewed, or not as Python, and why."""

    file: str
    sentence: str


class WorstFile(Finding):
    """One of the most complex files."""

    file: str
    lines: int
    functions: int
    worst: Located


class Look(Finding):
    """What one checker found in one file."""

    file: str
    checker: str = ""
    """Its peer id, as the lead knows it from the hub."""
    advice: tuple[Advice, ...] = ()
    problem: str | None = None


class Totals(Finding):
    """Sums over all files that were found."""

    files: int
    reviewed: int
    """Files that were read and parsed."""
    lines: int
    functions: int
    classes: int
    documentable: int
    undocumented: int
    bare_excepts: int
    beyond: int
    """Files whose most complex function is beyond the limit of `source_advice.MOST_COMPLEXITY`."""
    troubles: int


class Summary(Finding):
    """Everything that the report says."""

    subject: str
    totals: Totals
    worst: tuple[WorstFile, ...] = ()
    longest: tuple[Located, ...] = ()
    bare_excepts: tuple[Located, ...] = ()
    undocumented: tuple[Undocumented, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    looks: tuple[Look, ...] = ()
    not_looked_at: tuple[str, ...] = ()


def worst_files(reports: Iterable[FileReport]) -> list[FileReport]:
    """Return the files with the most complex functions, worst first."""
    complex_ones = (report for report in reports if report.most_complex)
    return heapq.nsmallest(WORST, complex_ones, key=lambda report: (-report.complexity, report.file))


def summarise(
    subject: str,
    reports: Sequence[FileReport],
    unreviewed: Sequence[Trouble] = (),
    looks: Sequence[Look] = (),
    not_looked_at: Sequence[str] = (),
) -> Summary:
    """Add up the reports. `unreviewed` are the files that nobody reported on."""
    reports = sorted(reports, key=lambda report: report.file)
    problems = [Trouble(file=short(r.file), sentence=r.problem) for r in reports if r.problem is not None]
    problems += [Trouble(file=short(trouble.file), sentence=trouble.sentence) for trouble in unreviewed]

    def total(count: Callable[[FileReport], int]) -> int:
        return sum(map(count, reports))

    return Summary(
        subject=short(subject),
        totals=Totals(
            files=len(reports) + len(unreviewed),
            reviewed=total(lambda r: r.problem is None),
            lines=total(lambda r: r.lines),
            functions=total(lambda r: r.functions),
            classes=total(lambda r: r.classes),
            documentable=total(lambda r: r.documentable),
            undocumented=total(lambda r: r.undocumented),
            bare_excepts=total(lambda r: r.bare_excepts),
            beyond=total(lambda r: r.complexity > MOST_COMPLEXITY),
            troubles=len(problems),
        ),
        worst=tuple(_worst_of(report) for report in worst_files(reports)),
        longest=tuple(_longest(reports)),
        bare_excepts=tuple(_bare_excepts(reports)),
        undocumented=tuple(_undocumented(reports)),
        troubles=tuple(problems[:LISTED]),
        looks=tuple(look.model_copy(update={"file": short(look.file)}) for look in looks),
        not_looked_at=tuple(map(short, not_looked_at)),
    )


def short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _worst_of(report: FileReport) -> WorstFile:
    worst = report.most_complex[0]
    located = Located(file=short(report.file), **worst.model_dump())
    return WorstFile(file=short(report.file), lines=report.lines, functions=report.functions, worst=located)


def _longest(reports: Iterable[FileReport]) -> list[Located]:
    found = [Located(file=short(r.file), **r.longest.model_dump()) for r in reports if r.longest is not None]
    return heapq.nsmallest(5, found, key=lambda function: (-function.lines, function.file))


def _bare_excepts(reports: Iterable[FileReport]) -> list[Located]:
    return [
        Located(file=short(report.file), line=place.line, name=place.within)
        for report in reports
        for place in report.bare_except_places
    ][:LISTED]


def _undocumented(reports: Iterable[FileReport]) -> list[Undocumented]:
    found = [
        Undocumented(file=short(r.file), missing=r.undocumented, expected=r.documentable)
        for r in reports
        if r.undocumented
    ]
    return heapq.nsmallest(5, found, key=lambda file: (-file.missing, file.file))


# -- the words


def write_report(summary: Summary) -> Iterator[str]:
    """Yield the lines of the report, each with its newline."""
    yield from (f"{line}\n" for line in _totals(summary))
    for section in (_worst, _longest_functions, _excepts, _docstrings, _second_look, _troubles):
        lines = list(section(summary))
        if lines:
            yield "\n"
            yield from (f"{line}\n" for line in lines)


def _totals(summary: Summary) -> Iterator[str]:
    total = summary.totals
    title = f"Review of {summary.subject}"
    yield title
    yield "=" * len(title)
    yield f"{counted(total.reviewed, 'file')} reviewed, {counted(total.lines, 'line')}"
    yield f"{counted(total.functions, 'function')} and {counted(total.classes, 'class', 'classes')}"
    if total.reviewed:
        yield f"{counted(total.beyond, 'file')} with a function more complex than {MOST_COMPLEXITY}"


def _worst(summary: Summary) -> Iterator[str]:
    if not summary.worst:
        return
    yield "Most complex files"
    rows = [("complexity", "lines", "functions", "where")]
    for file in summary.worst:
        where = f"{place(file.worst)} {file.worst.name}"
        rows.append((str(file.worst.complexity), str(file.lines), str(file.functions), where))
    for complexity, lines, functions, where in rows:
        yield f"  {complexity:>10}  {lines:>6}  {functions:>9}  {where}"


def _longest_functions(summary: Summary) -> Iterator[str]:
    if summary.longest:
        yield "Longest functions"
    for function in summary.longest:
        yield f"  {counted(function.lines, 'line'):>10}  {place(function)} {function.name}"


def _excepts(summary: Summary) -> Iterator[str]:
    total = summary.totals.bare_excepts
    if not total:
        if summary.totals.reviewed:
            yield "No bare except"
        return
    yield f"{counted(total, 'bare except')}: each catches KeyboardInterrupt and SystemExit too"
    for found in summary.bare_excepts:
        yield f"  {place(found)} {found.name or 'at the top of the module'}"
    if total > len(summary.bare_excepts):
        yield f"  and {total - len(summary.bare_excepts)} more"


def _docstrings(summary: Summary) -> Iterator[str]:
    total = summary.totals
    if not total.documentable:
        return
    documented = total.documentable - total.undocumented
    share = documented / total.documentable
    yield f"Docstrings: {documented:,} of {total.documentable:,} public definitions have one ({share:.0%})"
    for file in summary.undocumented:
        yield f"  {file.file} lacks {file.missing} of {file.expected}"


def _second_look(summary: Summary) -> Iterator[str]:
    if not summary.looks and not summary.not_looked_at:
        return
    yield "Second look"
    for look in summary.looks:
        yield f"  {look.file} (by {look.checker})"
        if look.problem:
            yield f"    {look.problem}"
        for advice in look.advice:
            yield f"    line {advice.line}, {advice.name}, complexity {advice.complexity}: {advice.suggestion}"
    for file in summary.not_looked_at:
        yield f"  {file}: nobody looked again in time"


def _troubles(summary: Summary) -> Iterator[str]:
    total = summary.totals.troubles
    if not total:
        return
    yield f"Not reviewed: {counted(total, 'file')}"
    for trouble in summary.troubles:
        yield f"  {trouble.file}: {trouble.sentence}"
    if total > len(summary.troubles):
        yield f"  and {total - len(summary.troubles)} more"


def counted(count: int, one: str, many: str = "") -> str:
    """Return `1 file`, `2 files`, `2,000 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def place(located: Located) -> str:
    return f"{located.file}:{located.line}"
