"""One key deleted, misspelt or retyped, a thousand times: each time something is said of that very line."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import TopologyError
from orchestrator.topology.model import Topology
from orchestrator.topology.validation import ABOUT_FILES
from tests.topology.files import keys_at, read
from tests.topology.random_files import File, Line, random_tree, written

if TYPE_CHECKING:
    from orchestrator.errors import Problem

COUNTS = [200, pytest.param(1_000, marks=pytest.mark.bars)]
"""How many cases are tried, and how many if it may take longer."""


def problems_of(text: str) -> list[Problem]:
    try:
        read(text)
    except TopologyError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("seed", range(100))
def test_a_file_at_random_is_valid(seed: int) -> None:
    file = written(random_tree(random.Random(seed)))
    assert problems_of(file.text) == [], file.text


def changed(file: File, line: Line, text: str | None) -> str:
    """Return the file with one line replaced, or without it and all that hangs below it."""
    kept = []
    for other in file.lines:
        if other is line:
            kept += [] if text is None else [text]
        elif text is not None or other.steps[: len(line.steps)] != line.steps:
            kept.append(other.text)
    return "\n".join(kept) + "\n"


def misspelt(rng: random.Random, key: str, known: set[str]) -> str:
    while True:
        letters = list(key)
        place = rng.randrange(len(letters))
        match rng.choice(["drop", "double", "swap", "other"]):
            case "drop" if len(letters) > 1:
                del letters[place]
            case "double":
                letters.insert(place, letters[place])
            case "swap" if place + 1 < len(letters):
                letters[place], letters[place + 1] = letters[place + 1], letters[place]
            case _:
                letters[place] = rng.choice("abcdefghijklmnopqrstuvwxyz")
        word = "".join(letters)
        if word not in known and not word.startswith("x-"):
            return word


def _fits(kind: str, line: Line, referred: set[str]) -> bool:
    if kind == "misspell":
        return not line.named
    return kind == "retype" or line.required or (line.named and line.steps[-1] in referred)


def cases(kind: str, count: int) -> list[tuple[int, File, Line]]:
    """Return files with one line each that can be changed in this way."""
    found = []
    for seed in range(count):
        rng = random.Random(f"{kind} {seed}")
        while True:
            file = written(random_tree(rng))
            referred = {name for line in file.lines for name in line.refers}
            lines = [line for line in file.lines if _fits(kind, line, referred)]
            if lines:
                found.append((seed, file, rng.choice(lines)))
                break
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_a_misspelt_key_is_told_on_its_line_in_every_case(count: int) -> None:
    for seed, file, line in cases("misspell", count):
        key = str(line.steps[-1])
        known = {*keys_at(line.steps[:-1]), *Topology.keys, *ABOUT_FILES}
        wrong = misspelt(random.Random(seed), key, known)
        text = changed(file, line, line.text.replace(key, wrong, 1))
        told = [problem.line for problem in problems_of(text)]
        assert file.number(line.steps) in told, (wrong, text)


@pytest.mark.parametrize("count", COUNTS)
def test_a_value_of_another_type_is_told_on_its_line_in_every_case(count: int) -> None:
    for seed, file, line in cases("retype", count):
        rng = random.Random(seed)
        key, _, value = line.text.partition(":")
        value = value.strip()
        if not value:
            other = rng.choice([" 7", " word", " [a, b]"])
            text = changed(file, line, None)
            number = file.number(line.steps)
            lines = text.splitlines()
            lines.insert(number - 1, f"{key}:{other}")
            text = "\n".join(lines) + "\n"
        else:
            other = " {a: b}" if value.startswith("[") else rng.choice([" {a: b}", " [[a]]", ""])
            text = changed(file, line, f"{key}:{other}")
        told = [problem.line for problem in problems_of(text)]
        assert file.number(line.steps) in told, (line.text, other, text)


@pytest.mark.parametrize("count", COUNTS)
def test_a_deleted_key_is_told_where_it_is_missed_in_every_case(count: int) -> None:
    """What is required is missed by what stands around it; a name, wherever it is referred to."""
    for _, file, line in cases("delete", count):
        text = changed(file, line, None)
        problems = problems_of(text)
        missing = len([other for other in file.lines if other.steps[: len(line.steps)] == line.steps])
        above = file.number(line.steps[:-1]) if len(line.steps) > 1 else 1
        places = {above}
        if line.named:
            gone = file.number(line.steps)
            referring = [file.number(other.steps) for other in file.lines if line.steps[-1] in other.refers]
            places = {number - missing if number > gone else number for number in referring}
        assert places & {problem.line for problem in problems}, (line.text, text)
