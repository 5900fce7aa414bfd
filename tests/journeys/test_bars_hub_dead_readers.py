"""Hazards 1 and 10: five hundred readers that read nothing, beside as many that do."""

from __future__ import annotations

import pytest

from bench.dead_readers import arguments, measured


@pytest.mark.bars
async def test_hazard_1_five_hundred_dead_readers_are_closed_1008_in_time_and_cost_no_more_than_their_outboxes() -> (
    None
):
    """How late the healthy hear meanwhile is what `bench.dead_readers` tells: it wants a machine to itself."""
    bars, figures = await measured(arguments(["--rounds", "1", "--seconds", "1", "--rate", "20"]))
    missed = [str(bar) for bar in bars if not bar.met and "p99" not in bar.name]
    assert missed == [], figures


@pytest.mark.bars
async def test_hazard_10_five_hundred_dead_readers_cost_no_more_than_all_readers_together_may() -> None:
    bars, figures = await measured(arguments(["--rounds", "0", "--hub=--outbound-bytes 67108864", "--memory", "80"]))
    assert [str(bar) for bar in bars if not bar.met] == [], figures
