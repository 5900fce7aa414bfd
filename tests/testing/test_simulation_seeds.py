"""Our own engines through sixty bad days; `make simulate` runs as many more as are wanted."""

from __future__ import annotations

import pytest

from tests.testing.simulation_runner import main
from tests.testing.simulation_scenes import Scenes

BLOCK = 20


@pytest.mark.parametrize("first", range(0, 40, BLOCK))
def test_every_invariant_holds(first: int) -> None:
    scenes = Scenes()
    ran = [scenes.run(seed) for seed in range(first, first + BLOCK)]
    assert sum(done.calls for done in ran) > 10 * BLOCK


def test_seeds_run_on_all_cores_and_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("30:33") == 0
    assert "3 seeds in" in capsys.readouterr().out
