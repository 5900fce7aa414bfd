"""The report: exact sums, bounded lists, and nothing left unsaid."""

from __future__ import annotations

from agents.source_advice import advise
from agents.source_metrics import FileReport, measure
from agents.source_report import LISTED, WORST, Look, Trouble, short, summarise, write_report
from orchestrator.protocol.limits import MAX_MESSAGE_SIZE

SOURCE = b'"""Said."""\ndef f(a):\n    if a: return\n    try: b\n    except: c\n'


def test_a_report_says_what_was_found() -> None:
    reports = [measure(SOURCE, "shop/a.py"), measure(b"class C:\n  pass\n", "shop/b.py")]
    looks = [Look(file="shop/a.py", checker="checker.1", advice=advise(SOURCE))]
    summary = summarise("shop", reports, [Trouble(file="shop/c.py", sentence="reviewer.1 went away")], looks)
    assert (
        "".join(write_report(summary))
        == """\
Review of shop
==============
2 files reviewed, 7 lines
1 function and 1 class
0 files with a function more complex than 10

Most complex files
  complexity   lines  functions  where
           3       5          1  shop/a.py:2 f

Longest functions
     4 lines  shop/a.py:2 f

1 bare except: each catches KeyboardInterrupt and SystemExit too
  shop/a.py:5 f

Docstrings: 1 of 4 public definitions have one (25%)
  shop/b.py lacks 2 of 2
  shop/a.py lacks 1 of 2

Second look
  shop/a.py (by checker.1)
    line 2, f, complexity 3: within every limit: leave it as it is

Not reviewed: 1 file
  shop/c.py: reviewer.1 went away
"""
    )


def test_the_order_of_arrival_changes_nothing() -> None:
    reports = [measure(SOURCE, f"{name}.py") for name in "dbca"]
    assert summarise("x", reports) == summarise("x", reports[::-1])


def test_a_summary_of_any_number_of_files_fits_one_message() -> None:
    function = (
        "def " + "ü" * 300 + "(a):\n" + "".join(" " * n + "if a:\n" for n in range(1, 20)) + " " * 20 + "try: b\n"
    )
    source = "".join(f"class {'ä' * 200}{n}:\n pass\n" for n in range(30))
    source += function + " " * 20 + "except: c\n"
    name = "ö" * 2_000
    reports = [measure(source.encode(), f"{name}/{n}.py") for n in range(50)]
    assert all(report.problem is None for report in reports)
    reports += [FileReport(file=f"{name}/{n}", problem="ß" * 120) for n in range(50)]
    unreviewed = [Trouble(file=f"{name}/x{n}", sentence="lost") for n in range(50)]
    looks = [Look(file=report.file, advice=advise(source.encode())) for report in reports[:WORST]]
    summary = summarise(name, reports, unreviewed, looks, [report.file for report in reports[:WORST]])
    assert (summary.totals.files, summary.totals.reviewed, summary.totals.troubles) == (150, 50, 100)
    assert len(summary.troubles) == len(summary.bare_excepts) == LISTED
    assert len(summary.model_dump_json().encode()) < MAX_MESSAGE_SIZE // 2
    assert "  and 90 more\n" in list(write_report(summary))


def test_a_long_name_keeps_its_end() -> None:
    assert short("a/" * 200 + "m.py").endswith("a/m.py")
    assert len(short("a/" * 200)) == 120


def test_nothing_to_review_is_still_a_report() -> None:
    text = "".join(write_report(summarise("x", [], [Trouble(file="a", sentence="lost")])))
    assert "0 files reviewed" in text
    assert "a: lost" in text
