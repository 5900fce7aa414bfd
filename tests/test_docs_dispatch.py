"""docs/dispatch.md: its examples run on TestHub, and its figures are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator import Workers, errors
from orchestrator.patterns import dispatch, intake, stream, workforce
from orchestrator.protocol import limits

TEXT = (Path(__file__).parents[1] / "docs" / "dispatch.md").read_text(encoding="utf-8")
PROSE = " ".join(re.sub(r"```python\n.*?```", "", TEXT, flags=re.DOTALL).split())


def test_every_example_is_a_test_on_a_whole_topology() -> None:
    examples = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(examples) >= 4
    assert all("async with TestHub(TOPOLOGY" in example and "assert" in example for example in examples)


@pytest.mark.parametrize(
    ("sentence", "figure"),
    [
        ("queues at most 16 more", intake.BACKLOG == 16),
        ("For three seconds after a coordinator has connected", workforce.RETURN_SECONDS == 3),
        ("has a second and a half to speak again", dispatch.LOST_GRACE == 1.5),
        ("15 seconds if it has begun to stream", dispatch.STREAM_GRACE == 15),
        ("the producer's for up to 15 seconds and its own for up to 30", intake.CALLER_GRACE == 30),
        ("asks a worker that has been silent for five seconds", dispatch.PROBE_SECONDS == 5),
        ("one that left in good order half a minute", dispatch.DRAIN_GRACE == 30),
        ("because that has been away for half a minute", intake.CALLER_GRACE == 30),
        ("everything for two minutes after the end", stream.REPLAY_SECONDS == 120),
        ("being 512 chunks or 4 MiB behind", (stream.CREDIT_CHUNKS, stream.REPLAY_BYTES) == (512, 4 * 1_048_576)),
        ("one message (64 KiB on most hubs) travels in parts, up to 8 MiB", limits.MAX_MESSAGE_SIZE == 65_536),
        ("up to 8 MiB", limits.MAX_JOINED_SIZE == 8 * 1_048_576),
    ],
)
def test_its_figures_are_those_of_the_code(sentence: str, figure: bool) -> None:
    assert sentence in PROSE
    assert figure


def test_it_names_every_way_in_which_a_task_can_end_and_every_method() -> None:
    ends = [error.__name__ for error in errors.DispatchError.__subclasses__()]
    methods = [f"workers.{name}(" for name in vars(Workers) if not name.startswith("_")]
    assert [name for name in [*ends, *methods] if name not in PROSE] == []
