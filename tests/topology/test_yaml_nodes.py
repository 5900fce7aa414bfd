"""Hazard 65: what YAML can do to its reader, it cannot do here."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology.yaml_nodes import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_NODES
from tests.topology.files import SMALLEST, complaints, read

ROOM = MAX_BYTES - 1_000
LAUGHS = "x-a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"x-{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "a list 5,000 deep": "[" * 5_000,
    "a list as deep as a file can be": "[" * ROOM,
    "mappings within mappings": "{a: " * (ROOM // 4),
    "dashes after dashes": "- " * (ROOM // 2),
    "keys of keys": "? " * (ROOM // 2),
    "a billion laughs": LAUGHS,
    "lists without end": f"x-a: [{'1,' * (ROOM // 2)}]",
    "aliases without end": f"x-a: &a x\nx-b: [{'*a,' * (ROOM // 4)}]",
    "anchors without end": "x-a:\n" + "".join(f"- &a{number} x\n" for number in range(90_000)),
    "directives without end": "%TAG !a! tag:\n" * (ROOM // 14),
    "documents without end": "---\n" * (ROOM // 4),
    "one quoted key after another": '"a" ' * (ROOM // 4),
    "a quote that never ends": '"' + "a\n" * (ROOM // 2),
    "one long word": "a" * ROOM,
    "one long number": "version: " + "1" * ROOM,
    "references without end": f"name: '{'${A}' * (ROOM // 4)}'",
    "references within references": f"name: '{'${A:-' * (ROOM // 5)}'",
    "unknown keys without end": "".join(f"k{number}: 1\n" for number in range(20_000)),
    "unknown names without end": f"users: {{u: {{asks: [{','.join(f'a{number}' for number in range(20_000))}]}}}}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_65_a_bomb_is_refused_before_it_costs_much(bomb: str) -> None:
    text = bomb if bomb.startswith(("[", "{", "-", "?", "%", '"', "a")) else f"{bomb}\n{SMALLEST}"
    before = time.process_time()
    assert complaints(text)
    assert time.process_time() - before < 5  # measured: 0.5 s at most, and 0.05 s for most


def test_65_a_file_has_a_megabyte_at_most() -> None:
    filler = "#" * (MAX_BYTES - len(SMALLEST))
    assert complaints(SMALLEST + filler) == []
    assert complaints(SMALLEST + filler + "#") == ["the file has more than 1048576 bytes, and no more are read"]


def test_65_a_file_is_32_levels_deep_at_most() -> None:
    depth = MAX_DEPTH - 1  # the file itself is the first level
    assert complaints(f"x-a: {'[' * (depth - 1)}1{']' * (depth - 1)}\n{SMALLEST}") == []
    assert complaints(f"x-a: {'[' * depth}1{']' * depth}\n{SMALLEST}")[0].startswith(f"1:{depth + 6}: x-a[0][0]")


def test_65_an_alias_counts_at_the_depth_where_it_stands() -> None:
    deep = f"x-a: &a {'[' * 20}1{']' * 20}\n"
    assert complaints(f"{deep}x-b: {'[' * 10}*a{']' * 10}\n{SMALLEST}") == []
    told = complaints(f"{deep}x-b: {'[' * 11}*a{']' * 11}\n{SMALLEST}")
    assert "with this alias the file is nested more than 32 levels deep" in told[0]


def test_65_a_file_has_100_aliases_at_most() -> None:
    aliases = ",".join(["*a"] * MAX_ALIASES)
    assert complaints(f"x-a: &a 1\nx-b: [{aliases}]\n{SMALLEST}") == []
    assert "more than 100 aliases" in complaints(f"x-a: &a 1\nx-b: [{aliases},*a]\n{SMALLEST}")[0]


def test_65_aliases_repeat_10_000_values_at_most() -> None:
    hundred = f"x-a: &a [{','.join('1' * 99)}]\n"
    assert complaints(f"{hundred}x-b: [{','.join(['*a'] * 100)}]\n{SMALLEST}") == []
    told = complaints(f"{hundred}x-b: &b [*a,*a]\nx-c: [{','.join(['*b'] * 50)}]\n{SMALLEST}")
    assert "the aliases of this file repeat more than 10000 values" in told[0]


def test_65_a_file_holds_100_000_values_at_most() -> None:
    assert complaints(f"x-a: [{'1,' * (MAX_NODES - 100)}]\n{SMALLEST}") == []
    assert "more than 100000 values" in complaints(f"x-a: [{'1,' * MAX_NODES}]\n{SMALLEST}")[0]


def test_three_thousand_agents_are_no_bomb() -> None:
    keys = (
        "handler: 'app:A', replicas: 2, concurrency: 4, name: A, enabled: true, external: false, capabilities: [a, b], "
        "inherit_environment: true, tasks: {timeout: 30s}, restart: {condition: always}"
    )
    agents = "".join(f"  a{number}: {{{keys}}}\n" for number in range(3_000))
    assert len(read(f"version: 1\nworkers:\n{agents}").workers) == 3_000


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [id]", "!!python/name:os.system ''", "!!binary aGk=", "!!set {a}", "!x y"]
)
def test_65_no_tag_is_obeyed(tag: str) -> None:
    assert "is not allowed" in complaints(f"version: 1\nname: {tag}\n{SMALLEST[11:]}")[0]


@given(st.text(alphabet="[]{}:,-&*!|>%@`'\"#? \n\tab1"))
def test_any_text_is_read_or_told_in_sentences(text: str) -> None:
    for line in complaints(text):
        assert not line.startswith("0:")
        assert line.split(":")[0].isdigit()


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_told_in_sentences(raw: bytes) -> None:
    assert complaints(raw)
