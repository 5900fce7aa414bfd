"""The plugin that pytest finds wherever this package is installed: one fixture, `topology_hub`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.testing.hub import TestHub


@pytest.fixture
def topology_hub(request: pytest.FixtureRequest) -> Iterator[Callable[..., TestHub]]:
    """Make a `TestHub` of a topology file beside the test, or in pytest's root directory, or of a text; options as there.

    After the test it fails if a hub has refused anything for want of a scope; `hub.refused.clear()` says that this was
    meant.
    """
    from orchestrator.testing.hub import TestHub  # not before it is needed: the plugin is loaded by every run of pytest

    made: list[TestHub] = []

    def make(topology: str | Path, **options: Any) -> TestHub:
        if isinstance(topology, Path) or "\n" not in topology:
            beside = request.path.parent / topology
            topology = beside if beside.exists() else request.config.rootpath / topology
        made.append(TestHub(topology, **options))
        return made[-1]

    yield make
    refused = [str(refusal) for hub in made for refusal in hub.refused]
    if refused:
        pytest.fail("the hub has refused what the scopes of the topology do not allow:\n" + "\n".join(refused))
