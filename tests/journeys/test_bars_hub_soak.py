"""A minute of everything that clients do, at half of what the hub can do: nothing of it is kept."""

from __future__ import annotations

import pytest

from bench.soak import arguments, measured


@pytest.mark.bars
async def test_after_a_minute_at_half_of_its_maximum_a_hub_has_grown_little_and_kept_no_descriptor_and_no_timer() -> (
    None
):
    """Most of what grows in the first minute fills what is bounded: `bench.soak` takes ten of them."""
    bars, figures = await measured(arguments(["--minutes", "1", "--warm-up", "0.5", "--slope", "12"]))
    assert [str(bar) for bar in bars if not bar.met] == [], figures
