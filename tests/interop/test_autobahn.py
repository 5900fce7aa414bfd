"""The hub's frames under Autobahn's fuzzing client: nothing failed, and nothing merely tolerated (hazards 17, 19, 20)."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.interop import autobahn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CASES = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1}
"""How many cases each group has. 8 and 11 have none, 12 and 13 are about compression, which the hub never agrees to."""
LARGE = (9,)
OTHERS = tuple(group for group in CASES if group not in LARGE)
WAITING: dict[int, list[tuple[str, ...]]] = {
    5: [("5.*",)],
    6: [
        tuple(f"6.{number}.*" for number in (1, 2, 3, 5, 6, 7, 8, 9)),
        ("6.4.*",),
        tuple(f"6.{number}.*" for number in range(10, 17)),
        tuple(f"6.{number}.*" for number in range(17, 24)),
    ],
}
"""Groups with cases that wait for seconds, and into which parts they are divided."""
AT_ONCE = tuple(group for group in OTHERS if group not in WAITING)
SOME_LARGE = (
    *(f"9.1.{size}" for size in (1, 6)),
    "9.2.4",
    *(f"9.{kind}.{fragment}" for kind in (3, 4) for fragment in (5, 9)),
    *(f"9.{kind}.{chop}" for kind in (5, 6) for chop in (4, 6)),
    "9.7.1",
    "9.8.1",
)
"""Of each kind of large message one or two cases that are not made of very many pieces; the second has 16 MiB."""
ASYNCIO, UVLOOP = None, uvloop.new_event_loop


pytestmark = pytest.mark.shows_secrets("the suite of Autobahn writes the address that it is given into its reports")


def strict(parts: Sequence[tuple[str, ...]], folder: Path, loop: Callable[[], Any] | None) -> list[str]:
    """Return the numbers of the cases that were tried, each part by a client of its own; each of them was answered as
    strictly as can be."""
    client = autobahn.command()

    async def bounded() -> list[autobahn.Verdict]:
        # Many cases wait for seconds, so several clients wait side by side.
        async with asyncio.timeout(400):
            return [verdict for part in await asyncio.gather(*map(tried, parts)) for verdict in part]

    async def tried(part: tuple[str, ...]) -> list[autobahn.Verdict]:
        place = Path(tempfile.mkdtemp(dir=folder))
        return await autobahn.verdicts(client, part, place)

    with asyncio.Runner(loop_factory=loop) as runner:
        found = runner.run(bounded())
        # A client that waits for its turn on a busy machine may give up a case too early: by itself it does not.
        doubtful = tuple(verdict.case for verdict in found if not verdict.strict)
        again = runner.run(tried(doubtful)) if doubtful else []
    assert [verdict for verdict in again if not verdict.strict] == []
    assert len(again) == len(doubtful)
    return [verdict.case for verdict in found]


def check(groups: tuple[int, ...], folder: Path, loop: Callable[[], Any] | None) -> None:
    waiting = [group for group in groups if group in WAITING]
    rest = tuple(f"{group}.*" for group in groups if group not in WAITING)
    parts = [rest, *(part for group in waiting for part in WAITING[group])]
    tried = strict([part for part in parts if part], folder, loop)
    assert Counter(int(case.split(".")[0]) for case in tried) == {group: CASES[group] for group in groups}


@pytest.mark.parametrize(
    ("loop", "groups"),
    [(UVLOOP, OTHERS), (ASYNCIO, AT_ONCE), pytest.param(ASYNCIO, OTHERS, marks=pytest.mark.bars)],
    ids=["uvloop", "asyncio, without those that wait", "asyncio"],
)
def test_frames_pings_reserved_bits_opcodes_fragments_text_and_closes_are_strictly_right(
    loop: Callable[[], Any] | None, groups: tuple[int, ...], tmp_path: Path
) -> None:
    check(groups, tmp_path, loop)


def test_messages_of_up_to_16_mib_come_back(tmp_path: Path) -> None:
    assert sorted(strict([SOME_LARGE], tmp_path, UVLOOP)) == sorted(SOME_LARGE)


@pytest.mark.bars
@pytest.mark.parametrize("loop", [ASYNCIO, UVLOOP], ids=["asyncio", "uvloop"])
def test_messages_of_up_to_16_mib_whole_and_in_fragments_and_chops_come_back(
    loop: Callable[[], Any] | None, tmp_path: Path
) -> None:
    check(LARGE, tmp_path, loop)
