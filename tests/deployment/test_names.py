"""Names that engines take, of names that they would not."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.deployment.names import LONGEST_OWN, unit_name, unit_names

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)
LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


@given(st.text())
def test_every_text_has_a_name(text: str) -> None:
    name = unit_name(text)
    assert LABEL.fullmatch(name)
    assert len(name) <= LONGEST_OWN


@given(st.lists(NAMES, unique=True), st.sets(st.sampled_from(["hub", "nats", "agents"])))
def test_no_two_are_the_same(texts: list[str], taken: set[str]) -> None:
    names = unit_names(texts, taken)
    assert list(names) == texts
    assert len({*names.values()}) == len(texts)
    assert not taken & {*names.values()}


def test_a_name_that_fits_stays_as_it_is() -> None:
    assert unit_names(["boss", "a_b", "hub"], {"hub"}) == {
        "boss": "boss",
        "a_b": "a-b",
        "hub": unit_names(["hub"], {"hub"})["hub"],
    }
