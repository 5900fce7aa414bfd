"""Tasks as people read them: columns, ages, sums, and nothing that steers a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.tasks_text import age, columns, cut, matching, plain, span, table, totals
from orchestrator.store.tasks import Failure, QueueStats, State, TaskInfo

NOW = 1_000_000.0


def info(task_id: str = "task-1", **more: Any) -> TaskInfo:
    settled: dict[str, Any] = {
        "id": task_id,
        "queue": "helper",
        "type": "Count",
        "caller": "boss",
        "origin": "boss",
        "state": State.READY,
        "attempt": 0,
        "max_attempts": 5,
        "priority": 0,
        "requires": frozenset(),
        "key": None,
        "worker": None,
        "stored": NOW,
        "since": NOW,
        "failure": None,
    }
    return TaskInfo(**{**settled, **more})


@given(st.text())
def test_a_plain_text_is_one_line_of_visible_characters(text: str) -> None:
    assert plain(text).isprintable()


@given(st.text(st.characters(blacklist_categories=["C", "Z"])))
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@given(st.text(st.sampled_from("abc漢字e\u0301\u0308 ")), st.integers(0, 12))
def test_what_is_cut_fits_and_is_the_beginning(text: str, width: int) -> None:
    shown = cut(text, width)
    assert columns(shown) <= width
    assert shown == text or (text.startswith(shown[:-1]) and shown[-1:] in ("…", ""))
    assert (shown == text) == (columns(text) <= width)


@given(st.lists(st.tuples(st.text(max_size=50), st.text(max_size=50), st.text()), min_size=1), st.integers(1, 200))
def test_a_table_fits_whatever_is_in_it(texts: list[tuple[str, str, str]], width: int) -> None:
    infos = [info(a, worker=b, failure=Failure("ValueError", c)) for a, b, c in texts]
    lines = table(infos, NOW, width)
    assert len(lines) == len(infos) + 1
    assert all(line.isprintable() and columns(line) <= width for line in lines)


def test_the_last_error_takes_what_is_left_of_the_width() -> None:
    failed = info(failure=Failure("ValueError", "this is far too long for a narrow terminal\nand goes on"))
    lines = table([failed], NOW, 70)
    assert lines == [
        "ID      STATE  QUEUE   TYPE   ATTEMPT  WORKER  AGE  LAST ERROR",
        "task-1  ready  helper  Count  0/5      -       0s   ValueError: this …",
    ]
    assert table([failed], NOW, None)[1].endswith("too long for a narrow terminal")


def test_wide_characters_take_two_columns() -> None:
    header, wide, narrow = table([info("任務-1"), info("task-22")], NOW, None)
    assert (columns(wide[: wide.index("ready")]), narrow.index("ready"), header.index("STATE")) == (9, 9, 9)


def test_a_long_name_is_cut_and_an_id_is_not() -> None:
    line = table([info("i" * 80, type="T" * 80)], NOW, None)[1]
    assert "i" * 80 in line
    assert f" {'T' * 31}… " in line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0.9, "0s"), (3, "3s"), (59.9, "59s"), (720, "12m"), (3600, "1h"), (86_399, "23h"), (172_800, "2d")],
)
def test_an_age_has_one_unit(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0ms"), (0.0123, "12ms"), (1.25, "1.2s"), (59.94, "59.9s"), (200, "3m 20s")]
)
def test_how_long_it_took(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


STATS = [QueueStats("helper", 3, 1, 1, 240, 2, 0), QueueStats("writer", 0, 0, 0, 7, 0, 1)]


def test_states_that_nobody_is_in_are_left_out_of_the_sums() -> None:
    assert totals(STATS[:1], None) == "3 ready, 1 later, 1 leased, 240 done, 2 dead"
    assert totals(STATS, None) == "3 ready, 1 later, 1 leased, 247 done, 2 dead, 1 cancelled"
    assert totals(STATS, "writer") == "7 done, 1 cancelled"
    assert totals([], None) == "no tasks"


def test_how_many_a_listing_would_have() -> None:
    assert matching(STATS, [], None) == 255
    assert matching(STATS, [State.READY, State.DEAD], None) == 6
    assert matching(STATS, [State.DONE], "writer") == 7
