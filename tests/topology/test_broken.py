"""Every mistake is told with its line, its column and a sentence of our own: one line for each, all at once."""

from __future__ import annotations

import pytest

from tests.topology import (
    broken_delivery,
    broken_hub,
    broken_keys,
    broken_kinds,
    broken_references,
    broken_values,
    broken_yaml,
)
from tests.topology.files import Broken, complaints

ALL = (
    *broken_keys.FILES,
    *broken_values.FILES,
    *broken_references.FILES,
    *broken_yaml.FILES,
    *broken_hub.FILES,
    *broken_kinds.FILES,
    *broken_delivery.FILES,
)


@pytest.mark.parametrize("broken", ALL, ids=lambda broken: broken.name)
def test_a_broken_file_is_told_from_a_good_one(broken: Broken) -> None:
    assert complaints(broken.text) == broken.lines


def test_the_names_of_the_broken_files_are_unique() -> None:
    assert len({broken.name for broken in ALL}) == len(ALL)
