"""Spaces that no editor shows and YAML takes for letters: told where they stand, unless they are meant."""

from __future__ import annotations

import pytest

from tests.topology.files import complaints, read

NBSP = "\xa0"
SAID = "a no-break space (U+00A0) stands here and is no space to YAML; write an ordinary one"
W = "version: 1\nworkers:\n  w:\n    handler: app:W\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (W + "____replicas: 3\n", "5:1: "),
        (W + "  _ replicas: 3\n", "5:3: "),
        (W + "    _replicas: 3\n", "5:5: "),
        ("version: 1\nworkers:\n__w: {handler: app:W}\n", "3:1: "),
        ("version: 1\nworkers:\n  w:\n_ _ handler: app:W\n", "4:1: "),
        ("version: 1\nworkers:\n  w:\n    handler:_app:W\n", "4:13: "),
        (W + "    replicas:_3\n", "5:14: "),
        (W + "    replicas:_3\n    name: x\n", "5:14: "),
        ("version:_1\nworkers:\n  w: {handler: app:W}\n", "1:9: "),
        (W + "    capabilities:\n      -_pdf\n", "6:8: "),
        (W + "    capabilities:\n      - _pdf\n", "6:9: "),
        (W + "_\n", "5:1: "),
    ],
)
def test_what_it_indents_or_parts_is_not_read_on(text: str, place: str) -> None:
    [line] = complaints(text.replace("_", NBSP))
    assert line.startswith(place)
    assert line.endswith(SAID)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: 1\nworkers:\n  w: {handler: app:W, replicas_: 3}\n", "3:31: "),
        ("version: 1\nworkers:\n  w: {handler: app:W, replicas__: 3}\n", "3:31: "),
        ("version: 1\nworkers:\n  w: {handler: app:W,_replicas: 3}\n", "3:22: "),
        ("version: 1\nworkers:\n  w: {handler: app:W, replicas:_3}\n", "3:32: "),
        ("version: 1\nworkers:\n  w: {handler: app:W_}\n", "3:21: "),
        ("version: 1\nworkers:\n  w: {handler: app:W, replicas: _3}\n", "3:33: "),
    ],
)
def test_beside_a_key_or_value_it_is_told_along_with_all_else(text: str, place: str) -> None:
    lines = complaints(text.replace("_", NBSP) + "zebra: 1\n")
    assert len(lines) == 2
    assert lines[0].startswith(place)
    assert lines[0].endswith(SAID)
    assert lines[1].startswith("4:1: zebra: unknown key")


def test_in_quotes_in_comments_and_within_a_text_it_is_meant() -> None:
    text = (
        W
        + f"    name: The{NBSP}One # a{NBSP}comment\n    environment: {{A: 'x{NBSP}', B: \"{NBSP}y\", C: 'k:{NBSP}v'}}\n"
    )
    with_name = complaints(text)
    assert [line.partition(": ")[2] for line in with_name] == [
        "workers.w.name: a name for people has 1 to 128 printable characters"
    ]
    topology = read(text.replace(f"The{NBSP}One", "One"))
    assert topology.workers["w"].environment == {"A": f"x{NBSP}", "B": f"{NBSP}y", "C": f"k:{NBSP}v"}


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ("\u3000", "an ideographic space (U+3000)"),
        ("\u2009", "a thin space (U+2009)"),
        ("\u200b", "a zero width space (U+200B)"),
    ],
)
def test_its_kin_are_told_by_their_names(space: str, name: str) -> None:
    [line] = complaints(f"{W}    {space}replicas: 3\n")
    assert line.startswith("5:5: ")
    assert f": {name} stands here" in line
