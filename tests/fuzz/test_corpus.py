"""Hazards 21 to 25, 29, 37 and 38: whatever fuzzing has found of interest, once more, at every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_25_every_input_that_is_kept_is_handled_as_the_reference_says(target: str) -> None:
    kept = sorted((CORPUS / target).iterdir())
    assert kept
    for path in kept:
        try:
            TARGETS[target](path.read_bytes())
        except Exception as fault:
            raise AssertionError(f"{path.relative_to(CORPUS)}: {fault!r}") from fault
