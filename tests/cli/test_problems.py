"""How problems look: to people with the line that they are in, to programs as JSON, and as annotations."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.excerpts import WINDOW, excerpt
from orchestrator.cli.problems import MAX_SHOWN, Severity, render
from orchestrator.errors import Problem


def problem(column: int = 1, *, line: int = 1, source: str = "t.yaml", sentence: str = "it is wrong") -> Problem:
    return Problem(source, line, column, "workers.w", sentence)


def under(text: str, column: int) -> tuple[str, str]:
    """Return the line that is shown, and what of it stands over the caret; every column is a character here."""
    found = excerpt(text, 1, column)
    assert found is not None
    return found.line, found.line[found.caret :][:1]


def test_the_line_is_shown_with_a_caret_under_the_column() -> None:
    text = "version: 1\nworkers: [a]\n"
    assert render([problem(11, line=2)], {"t.yaml": text}, "text", "error") == (
        "t.yaml:2:11: workers.w: it is wrong\n    2 | workers: [a]\n      |           ^\n"
    )


def test_a_warning_says_so_and_its_code_follows() -> None:
    found = Problem("t.yaml", 1, 1, "", "it is odd", "ORC106")
    assert render([found], {}, "text", "warning") == "t.yaml:1:1: warning: it is odd [ORC106]\n"


def test_several_problems_stand_apart() -> None:
    told = render([problem(1), problem(2)], {"t.yaml": "ab"}, "text", "error")
    assert told.split("\n\n") == [
        "t.yaml:1:1: workers.w: it is wrong\n    1 | ab\n      | ^",
        "t.yaml:1:2: workers.w: it is wrong\n    1 | ab\n      |  ^\n",
    ]


@pytest.mark.parametrize(
    "found",
    [problem(0, line=0), problem(source="other.yaml"), problem(line=9)],
    ids=["the file as a whole", "a file that is not there", "a line that is not there"],
)
def test_without_a_line_there_is_no_caret(found: Problem) -> None:
    told = render([found], {"t.yaml": "version: 1\n"}, "text", "error")
    assert told.count("\n") == 1
    assert "^" not in told


def test_what_else_there_is_to_say_follows_the_line() -> None:
    told = render([problem(sentence="it raised\n    File x")], {"t.yaml": "ab"}, "text", "error")
    assert told.splitlines() == ["t.yaml:1:1: workers.w: it raised", "    1 | ab", "      | ^", "    File x"]


@pytest.mark.parametrize("lines", ["a: 1\r\nb: x\r\n", "a: 1\rb: x\r", "a: 1\nb: x"], ids=["windows", "mac", "no end"])
def test_lines_end_as_in_yaml(lines: str) -> None:
    assert excerpt(lines, 2, 4) == ("b: x", 3)


@pytest.mark.parametrize(
    ("line", "column", "caret"),
    [
        ("\tx", 2, 4),
        ("ab\tx", 4, 6),
        ("名前: x", 5, 6),
        ("é: x", 4, 3),
        ("e\u0301: x", 5, 3),
        ("e\u0301: x", 2, 0),
        ("a\u200bb", 3, 2),
    ],
    ids=["tab", "tab in the middle", "wide", "composed", "combining", "on a mark", "invisible"],
)
def test_the_caret_stands_under_what_the_terminal_shows(line: str, column: int, caret: int) -> None:
    found = excerpt(line, 1, column)
    assert found is not None
    assert found.caret == caret


def test_a_long_line_is_cut_to_a_window_around_the_column() -> None:
    line = "".join(chr(97 + index % 26) for index in range(5000))
    for column in (1, 50, 99, 100, 101, 2500, 4950, 5000):
        shown, over = under(line, column)
        assert over == line[column - 1]
        assert shown.strip("…") in line
        assert WINDOW <= len(shown) <= WINDOW + 2
    assert under(line, 1)[0].endswith("…")
    assert under(line, 5000)[0].startswith("…")


CHARACTERS = st.sampled_from("ab é\t名🙂\u0301\u200b\u202e")


@given(st.text(CHARACTERS, max_size=300), st.integers(1, 320))
def test_an_excerpt_is_never_wider_than_its_window(line: str, column: int) -> None:
    found = excerpt(line, 1, column)
    assert found is not None
    width = sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in found.line
    )
    assert width <= WINDOW + 2
    assert 0 <= found.caret <= WINDOW + 1
    assert "\t" not in found.line
    assert "\u202e" not in found.line


@pytest.mark.parametrize("column", [1, 30, 41, 47, 60])
def test_a_secret_is_not_shown_wherever_the_column_is(column: int) -> None:
    line = "  w: {environment: {API_KEY: canary-canary, MODEL: small}, replcas: 2}"
    told = render([problem(column)], {"t.yaml": line}, "text", "error")
    assert "canary" not in told
    assert "API_KEY: ***, MODEL" in told


def test_after_a_secret_the_caret_is_still_under_its_column() -> None:
    line = "environment: {API_KEY: canary-canary, MODEL: small}"
    assert under(line, line.index("MODEL") + 1)[1] == "M"
    assert under(line, line.index("canary") + 5) == ("environment: {API_KEY: ***, MODEL: small}", "*")


def test_json_holds_every_key_of_every_problem() -> None:
    found = [problem(3), Problem("u.yaml", 0, 0, "", "postgres://me:canary@host is no store", "ORC101")]
    assert json.loads(render(found, {}, "json", "warning")) == [
        {
            "source": "t.yaml",
            "line": 1,
            "column": 3,
            "path": "workers.w",
            "sentence": "it is wrong",
            "code": "",
            "severity": "warning",
        },
        {
            "source": "u.yaml",
            "line": 0,
            "column": 0,
            "path": "",
            "sentence": "postgres://***@host is no store",
            "code": "ORC101",
            "severity": "warning",
        },
    ]


def test_no_problems_are_an_empty_list_and_otherwise_nothing() -> None:
    assert json.loads(render([], {}, "json", "error")) == []
    assert render([], {}, "text", "error") == render([], {}, "github", "error") == ""


@pytest.mark.parametrize("severity", ["error", "warning"])
def test_an_annotation_escapes_what_a_workflow_command_would_take_for_its_own(severity: Severity) -> None:
    found = Problem("a,b:c%.yaml", 4, 7, "teams.desk", "100% wrong:\r\nvery, very", "ORC1")
    assert render([found], {}, "github", severity) == (
        f"::{severity} file=a%2Cb%3Ac%25.yaml,line=4,col=7,title=ORC1::teams.desk: 100%25 wrong:%0D%0Avery, very\n"
    )


def test_an_annotation_of_a_whole_file_has_no_line() -> None:
    found = Problem("t.yaml", 0, 0, "", "it cannot be read")
    assert render([found], {}, "github", "error") == "::error file=t.yaml,title=topology::it cannot be read\n"


def test_colour_adds_nothing_but_colour() -> None:
    texts = {"t.yaml": "ab"}
    painted = render([problem(2)], texts, "text", "error", colour=True)
    assert "\x1b[31m^\x1b[0m" in painted
    for code in ("0", "1", "31", "34"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted == render([problem(2)], texts, "text", "error")


def test_of_very_many_problems_the_lines_of_the_first_are_shown() -> None:
    problems = [Problem("t.yaml", 1, 1, f"w{number}", "no") for number in range(MAX_SHOWN + 2)]
    told = render(problems, {"t.yaml": "version: 1\n"}, "text", "error")
    assert told.count("    1 | version: 1\n") == MAX_SHOWN
    assert told.count("t.yaml:1:1: ") == MAX_SHOWN + 2
