"""Sections as values: frozen, equal by their keys, silent about what is hidden, and read with every mistake at once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pytest

from orchestrator.topology.section import EMPTY, Field, Listed, Named, Section
from orchestrator.topology.validation import validate
from orchestrator.topology.values import Text, read_count, read_name


class Leaf(Section):
    size: Annotated[int, read_count] | None = None


class Twig(Section, hidden=("secret",), beside=("place",)):
    legs: ClassVar[int] = 2

    name: Annotated[str, read_name]
    secret: Annotated[str, read_name] = "none"
    leaves: tuple[Annotated[str, read_name], ...] = ()
    first: Leaf = Leaf()
    others: Mapping[Annotated[str, read_name], Leaf] = EMPTY
    place: str = "nowhere"


class Branch(Twig):
    twigs: tuple[Annotated[str, read_name], ...]


def read(data: Any) -> tuple[Twig | None, list[tuple[str, str, bool]]]:
    twig, findings = validate(Twig, data, place="here")
    return twig, [(".".join(map(str, steps)), sentence, at_key) for steps, sentence, at_key in findings]


def test_keys_are_the_annotations_with_what_is_inherited_first() -> None:
    assert Twig.keys == ("name", "secret", "leaves", "first", "others")
    assert Branch.keys == (*Twig.keys, "twigs")
    assert Twig.fields() == {
        "name": Field(read_name, True, None),
        "secret": Field(read_name, False, "none"),
        "leaves": Field(Listed(read_name), False, ()),
        "first": Field(Leaf, False, Leaf()),
        "others": Field(Named(read_name, Leaf), False, EMPTY),
    }
    assert Leaf.fields() == {"size": Field(read_count, False, None)}
    assert Branch.fields()["twigs"].required


def test_what_is_not_given_has_its_default() -> None:
    twig = Twig(name="a", first=Leaf(size=3))
    assert (twig.secret, twig.leaves, twig.first.size, twig.others, twig.place) == ("none", (), 3, {}, "nowhere")
    assert twig.given == {"name", "first"}
    assert twig.as_dict() == {"name": "a", "secret": "none", "leaves": (), "first": Leaf(size=3), "others": {}}


@pytest.mark.parametrize("given", [{}, {"name": "a", "nme": "b"}, {"name": "a", "legs": 3}, {"secret": "b"}])
def test_keys_that_are_missing_or_unknown_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"missing from Twig, or unknown to it: [a-z]+"):
        Twig(**given)


def test_a_default_is_equal_to_the_same_value_given() -> None:
    assert Twig(name="a", secret="none") == Twig(name="a")
    assert Twig(name="a", place="here") == Twig(name="a", place="there")
    assert Twig(name="a") != Twig(name="b")
    assert Leaf() != Twig(name="a")
    assert Twig(name="a") != Branch(name="a", twigs=())


def test_what_is_hidden_is_in_no_repr() -> None:
    assert repr(Twig(name="a", secret="hush", first=Leaf(), place="x")) == "Twig(name='a', first=Leaf())"
    assert repr(Branch(name="a", secret="hush", twigs=("b",))) == "Branch(name='a', twigs=('b',))"


def test_nothing_of_it_changes() -> None:
    twig = Twig(name="a")
    with pytest.raises(AttributeError, match="a Twig does not change"):
        twig.name = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="a Twig does not change"):
        del twig.name
    with pytest.raises(TypeError):
        twig.others["a"] = Leaf()  # type: ignore[index]
    with pytest.raises(TypeError, match="unhashable"):
        hash(twig)


def test_another_is_made_with_changes() -> None:
    twig = Twig(name="a", place="here")
    changed = twig.replace(secret="b")
    assert (changed.name, changed.secret, changed.place) == ("a", "b", "here")
    assert changed.given == {"name", "secret"}
    assert twig == Twig(name="a")
    with pytest.raises(TypeError, match="nme"):
        twig.replace(nme="b")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda twig: pickle.loads(pickle.dumps(twig))])
def test_a_copy_is_equal(again: Any) -> None:
    twig = Twig(name="a", leaves=("b",), first=Leaf(size=1))
    assert again(twig) == twig
    assert again(twig).given == twig.given


def test_data_are_read_into_sections_all_the_way_down() -> None:
    data = {"name": "a", "leaves": ["b", "c"], "first": {"size": Text("2", "2")}, "others": {"d": {}}}
    twig, found = read(data)
    assert found == []
    assert twig == Twig(name="a", leaves=("b", "c"), first=Leaf(size=2), others={"d": Leaf()})
    assert twig is not None
    assert twig.given == data.keys()
    assert twig.place == "here"


def test_every_mistake_is_found_at_once() -> None:
    twig, found = read({"leaves": "b", "first": [], "others": {"D": 1, "e": {"sze": 1}}, "secret": "X"})
    assert twig is None
    letters = "a name begins with a small letter and holds only small letters, digits, '-' and '_'"
    assert found == [
        ("secret", f"{letters} (did you mean 'x'?)", False),
        ("leaves", "expected a list, found 'b'; write [b]", False),
        ("first", "expected a mapping, found a list", False),
        ("others.D", f"{letters} (did you mean 'd'?)", True),
        ("others.D", "expected a mapping, found 1", False),
        ("others.e.sze", "unknown key 'sze' (did you mean 'size'?)", True),
        ("", "the key 'name' is missing", True),
    ]


def test_what_stands_beside_the_keys_is_no_key() -> None:
    _, found = read({"name": "a", "place": "there"})
    assert [(where, at_key) for where, _, at_key in found] == [("place", True)]
