"""Mistakes that nearly everybody makes once: what is said of them can be followed to the letter."""

from __future__ import annotations

import pytest

from orchestrator.topology.masking import masked
from tests.topology.files import complaints

QUOTE_IT = """inside '{' or '[' a value with '${' needs quotes, such as "${NAME}"; its '{' ends the text"""


@pytest.mark.parametrize(
    ("line", "column"),
    [("hub: {key: ${KEY}}", 12), ("hub: {key: sk_${KEY}}", 15), ("x-a: [one, ${TWO:-two}]", 12)],
)
def test_a_variable_without_quotes_in_brackets_is_told_where_it_stands(line: str, column: int) -> None:
    said = complaints(f"version: 1\n{line}\nworkers:\n  w: {{handler: app:W}}\n")
    assert [one.partition(" ")[0] for one in said] == [f"2:{column}:"]
    assert said[0].endswith(QUOTE_IT)


def test_a_variable_in_quotes_or_without_brackets_needs_nothing() -> None:
    text = 'version: 1\nhub: {key: "${KEY}"}\nname: ${NAME:-desk}\nworkers:\n  w: {handler: app:W}\n'
    assert complaints(text) == []


def test_brackets_that_are_not_closed_are_still_told_as_such() -> None:
    assert complaints("version: 1\nworkers:\n  w: {handler: app:W}\nhub: {listen: a{b}\n") == [
        "4:6: hub: the mapping that begins with this '{' needs ',' between its keys and '}' at its end"
    ]


@pytest.mark.parametrize("key", ["profiles: {}", "include: more.yaml"])
def test_what_is_about_files_has_no_place_in_a_profile(key: str) -> None:
    name = key.partition(":")[0]
    text = f"version: 1\nworkers:\n  w: {{handler: app:W}}\nprofiles:\n  small:\n    {key}\n"
    assert complaints(text) == [
        f"6:5: profiles.small.{name}: '{name}' stands at the top of a file, and not in a profile"
    ]


def test_a_command_has_a_program() -> None:
    assert complaints("version: 1\nagents:\n  a: {command: ['', x]}\n") == [
        "3:16: agents.a.command: a command has at least one word, the program"
    ]


def test_what_a_key_looks_like_can_be_said_and_a_key_cannot() -> None:
    assert masked("a key is a pair sk_id_…:sk_secret_…, and this is none").count("***") == 0
    assert masked("the key sk_id_a:sk_secret_b…") == "the key sk_id_a:***"
