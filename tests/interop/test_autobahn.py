"""The hub's frames under Autobahn's fuzzing client: nothing failed, and nothing merely tolerated (hazards 17, 19, 20)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.interop import autobahn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1}
"""How many cases each group has. 8 and 11 have none, 12 and 13 are about compression, which the hub never agrees to."""
LARGE = (9,)
OTHERS = tuple(group for group in CASES if group not in LARGE)


def check(groups: tuple[int, ...], folder: Path, loop: Callable[[], Any] | None) -> None:
    client = autobahn.command()

    async def bounded() -> list[autobahn.Verdict]:
        async with asyncio.timeout(400):
            return await autobahn.verdicts(client, groups, folder)

    with asyncio.Runner(loop_factory=loop) as runner:
        found = runner.run(bounded())
    assert [verdict for verdict in found if not verdict.strict] == []
    assert Counter(int(verdict.case.split(".")[0]) for verdict in found) == {group: CASES[group] for group in groups}


@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_frames_pings_reserved_bits_opcodes_fragments_text_and_closes_are_strictly_right(
    loop: Callable[[], Any] | None, tmp_path: Path
) -> None:
    check(OTHERS, tmp_path, loop)


def test_messages_of_up_to_16_mib_whole_and_in_fragments_and_chops_come_back(tmp_path: Path) -> None:
    check(LARGE, tmp_path, uvloop.new_event_loop)
