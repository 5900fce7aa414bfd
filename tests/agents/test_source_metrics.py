"""What the reviewers measure, against a second way of counting, against ruff, and at the edges of what is Python."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from agents.source_metrics import SHOWN, FileReport, Function, Place, measure, outline, parse
from tests.agents.independent import tally

ASYNCIO = sorted(Path(asyncio.__file__).parent.rglob("*.py"))


def functions(source: str) -> dict[str, int]:
    return {function.name: function.complexity for function in outline(parse(source)).functions}


@pytest.mark.parametrize("path", ASYNCIO, ids=lambda path: path.name)
def test_a_report_equals_a_second_count(path: Path) -> None:
    source = path.read_bytes()
    report, expected = measure(source, path.name), tally(source)
    assert report.problem is None
    assert (report.lines, report.functions, report.classes) == (expected.lines, expected.functions, expected.classes)
    assert report.bare_excepts == expected.bare_excepts
    assert (report.documentable, report.undocumented) == (expected.documentable, expected.undocumented)
    assert report.complexity == max((points for _, _, points in expected.complexities), default=0)
    assert (report.longest.lines if report.longest else 0) == expected.longest
    found = outline(parse(source.decode())).functions
    assert Counter((f.name.rpartition(".")[2], f.line, f.complexity) for f in found) == expected.complexities


def test_every_complexity_is_the_one_that_ruff_reports() -> None:
    options = ["--isolated", "--no-cache", "--ignore-noqa", "--exit-zero", "--output-format", "concise"]
    rule = ["--select", "C901", "--config", "lint.mccabe.max-complexity=0"]
    command = [sys.executable, "-m", "ruff", "check", *options, *rule, *map(str, ASYNCIO)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = re.findall(r"^(.*?):(\d+):\d+: C901 `(.*?)` is too complex \((\d+) > 0\)$", said, re.MULTILINE)
    theirs = Counter((Path(file).name, int(line), name, int(points)) for file, line, name, points in told)
    ours = Counter(
        (path.name, f.line, f.name.rpartition(".")[2], f.complexity)
        for path in ASYNCIO
        for f in outline(parse(path.read_text(encoding="utf-8"))).functions
    )
    assert theirs == ours


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("for a in b: pass\n else: pass", 2),
        ("while a:\n  if b: break", 3),
        ("try: a\n except A: b\n except B: c\n finally: d", 3),
        ("try: a\n except A: b\n else: c", 3),
        ("try: a\n except* A: b", 2),
        ("with a, b: pass", 1),
        ("return a if b and c or d else [e for e in f if g]", 1),
        ("assert a", 1),
        ("match a:\n  case 1: pass\n  case 2: pass", 3),
        ("match a:\n  case 1: pass\n  case _: pass", 2),
        ("match a:\n  case 1: pass\n  case other: pass", 2),
        ("match a:\n  case 1: pass\n  case 2 | _: pass", 2),
        ("match a:\n  case 1: pass\n  case _ if b: pass", 3),
        ("def inner():\n  if a: pass", 3),
        ("class Inner:\n  def method(self):\n   if a: pass", 3),
        ("return lambda: a if b else c", 1),
    ],
)
def test_complexity_counts_what_the_module_says_it_counts(body: str, complexity: int) -> None:
    assert functions(f"def f():\n {body}\n")["f"] == complexity


def test_functions_are_named_from_the_module_down() -> None:
    source = "class A:\n def b(self):\n  async def c(): pass\nif True:\n def d(): pass\n"
    assert list(functions(source)) == ["A.b", "A.b.c", "d"]


def test_the_longest_function_is_the_first_of_equals_and_counted_without_its_decorators() -> None:
    report = measure(b"@decorator\n@another\ndef a():\n  pass\n\ndef b():\n  pass\n", "m.py")
    assert report.longest == Function(name="a", line=3, lines=2, complexity=1)


def test_docstrings_are_expected_of_what_is_public_alone() -> None:
    source = b"""
from typing import overload
class Public:
    def method(self): "said"
    def _private(self): pass
    def __len__(self): return 0
    @overload
    def twice(self): ...
    @property
    def value(self): return 1
    @value.setter
    def value(self, new): pass
class _Hidden:
    def method(self): pass
def function():
    def inner(): pass
"""
    report = measure(source, "m.py")
    assert report.documentable == 5
    assert [place.within for place in report.undocumented_places] == ["", "Public", "Public.value", "function"]


def test_an_empty_file_lacks_nothing() -> None:
    assert measure(b"", "m.py") == FileReport(file="m.py")


def test_a_bare_except_is_told_with_what_is_around_it() -> None:
    source = b"try: a\nexcept: b\nclass C:\n def m(self):\n  try: a\n  except A: b\n  except: c\n"
    report = measure(source, "m.py")
    assert report.bare_except_places == (Place(line=2, within=""), Place(line=7, within="C.m"))


@pytest.mark.parametrize(
    ("source", "problem", "lines"),
    [
        (b"def f(:\n  pass\n", "it does not parse in line 1: invalid syntax", 2),
        (b"\xff\xfe\x00", "it does not parse: invalid or missing encoding declaration", 0),
        (b"# fine\n# fine\nname = '\xff'\n", "it cannot be read as text: 'utf-8' codec can't decode byte 0xff", 0),
        (b"# coding: klingon\n", "it does not parse: unknown encoding: klingon", 0),
        (b"# coding: hex\n", "it cannot be read as text: 'hex' is not a text encoding", 0),
        (b"a = 1\x00\n", "null bytes", 1),
        (b"(" * 5000 + b")" * 5000, "it does not parse in line 1: too many nested parentheses", 1),
        (b"-" * 100_000 + b"1", "it is nested too deeply for the parser", 1),
    ],
)
def test_what_is_no_python_is_a_finding(source: bytes, problem: str, lines: int) -> None:
    report = measure(source, "m.py")
    assert report.problem is not None
    assert problem in report.problem
    assert (report.lines, report.functions) == (lines, 0)


@pytest.mark.parametrize(
    "source",
    [
        "# -*- coding: latin-1 -*-\ndef f(): return 'é'\n".encode("latin-1"),
        "\ufeffdef f(): return 'é'\n".encode(),
        b"def f():\r\n    return 1",
        b"def f():\r    return 1\r",
        b"def f(): return '\\d'\n",
    ],
    ids=["coding cookie", "byte order mark", "CRLF", "CR", "odd escape"],
)
def test_every_spelling_of_a_text_is_read(source: bytes) -> None:
    report = measure(source, "m.py")
    assert (report.problem, report.functions) == (None, 1)


def test_a_long_chain_of_elif_is_no_deep_recursion() -> None:
    chain = "def f():\n if a: pass\n" + " elif a: pass\n" * 400
    assert functions(chain)["f"] == 402


def test_a_report_of_an_enormous_file_stays_small() -> None:
    name = "ü" * 3_000
    source = "".join(f"def {name}{n}():\n  try: a\n  except: b\n" for n in range(500)).encode()
    report = measure(source, "m.py")
    assert (report.functions, report.bare_excepts, report.undocumented) == (500, 500, 501)
    assert len(report.most_complex) == len(report.bare_except_places) == len(report.undocumented_places) == SHOWN
    assert len(report.model_dump_json()) < 20_000
