"""``.env`` files, read strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import TopologyError
from orchestrator.topology.env_file import load_env_file, parse_env

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A =  b c  ", "b c"),
        ("export A=b", "b"),
        ("A=", ""),
        ("A=b # said", "b"),
        ("A=b#c", "b#c"),
        ("A=# said", ""),
        ("A='b # c'", "b # c"),
        ("A='b\\n' # said", "b\\n"),
        ('A="b\\n\\"c\\" \\$D \\\\"', 'b\n"c" $D \\'),
        ('A=""', ""),
        ("A=it's", "it's"),
        ("A=$B", "$B"),
        ("A=x=y", "x=y"),
    ],
)
def test_a_line_gives_a_value(line: str, value: str) -> None:
    assert parse_env(line, ".env") == {"A": value}


def test_comments_and_empty_lines_are_passed_over() -> None:
    assert parse_env("# a\n\n  \n A=1\r\n\t# b\nB=2", ".env") == {"A": "1", "B": "2"}


def test_every_mistake_is_told_at_once_and_no_value_with_it() -> None:
    text = 'A b=hunter2\nB=\'hunter2\nC=1\nC=hunter2\n=hunter2\n1A=hunter2\nD="hunter2" x\n'
    with pytest.raises(TopologyError) as refused:
        parse_env(text, "my.env")
    lines = [str(problem) for problem in refused.value.problems]
    assert lines == [
        "my.env:1:1: expected NAME=value, where the name holds only letters, digits and '_'",
        "my.env:2:3: B: the quotes around this value do not match",
        "my.env:4:1: C: C stands here again; the first is in line 3",
        "my.env:5:1: expected NAME=value, where the name holds only letters, digits and '_'",
        "my.env:6:1: expected NAME=value, where the name holds only letters, digits and '_'",
        "my.env:7:3: D: the quotes around this value do not match",
    ]


def test_a_file_that_is_no_text_or_not_there_is_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"A=1\nB=\xff\n")
    for path, said in (
        (bad, "bad:2:1: this line is no UTF-8 text"),
        (tmp_path / "no", "no: the file cannot be read: no such"),
    ):
        with pytest.raises(TopologyError) as refused:
            load_env_file(path, path.name)
        assert str(refused.value).startswith(said)


@given(
    st.text(st.characters(exclude_characters="\r\n\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"]))
)
def test_any_text_passes_in_double_quotes(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_env(f'A="{quoted}"', ".env") == {"A": text}


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = parse_env(text, ".env")
    except TopologyError as error:
        assert error.problems
    else:
        assert all(name.isidentifier() for name in values)
