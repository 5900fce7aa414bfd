"""The map that handlers see: ordinary, of JSON, and with nothing shared but what was written."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.agents.relations import Team
from orchestrator.agents.state import State
from orchestrator.errors import PayloadTooLarge, SubscriberTooSlow


class Place(BaseModel):
    row: int


def test_it_is_a_map() -> None:
    state = State({"b": 1})
    state["a"] = (1, {"x": None})
    state["p"], state["ps"] = Place(row=2), [Place(row=3)]
    assert dict(state) == {"b": 1, "a": [1, {"x": None}], "p": {"row": 2}, "ps": [{"row": 3}]}
    assert (len(state), "a" in state, "z" in state) == (4, True, False)
    assert state.pop("b") == 1
    for key in state:
        del state[key]
    assert not state
    with pytest.raises(KeyError):
        del state["a"]
    with pytest.raises(KeyError):
        state["a"]


def test_what_is_read_is_a_copy() -> None:
    given: dict[str, Any] = {"x": [1]}
    state = State({"k": given})
    given["x"].append(2)
    state["k"]["x"].append(3)
    assert state["k"] == {"x": [1]}


def test_values_are_read_as_types() -> None:
    state = State({"k": {"row": 1}, "n": [1, 2]})
    assert state.read("k", Place) == Place(row=1)
    assert state.read("n", tuple[int, int]) == (1, 2)
    with pytest.raises(ValidationError):
        state.read("n", Place)
    with pytest.raises(KeyError):
        state.read("z", Place)


@pytest.mark.parametrize("key", ["", "k" * 257, "\ud800"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"key|surrogates"):
        State()[key] = 1


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        State()["k"] = value


def test_other_types_are_refused() -> None:
    state = State()
    with pytest.raises(TypeError, match="set is no JSON"):
        state["k"] = {1}
    with pytest.raises(TypeError, match="a key is a text, not int"):
        state[1] = 1  # type: ignore[index]
    with pytest.raises(PayloadTooLarge):
        state["k"] = "x" * 60_000


async def test_changes_begin_when_they_are_asked_for() -> None:
    state = State({"old": 1})
    changes = state.changes()
    state["k"] = [1]
    del state["k"]
    first, second = await anext(changes), await anext(changes)
    assert (first.key, first.value, first.deleted, second.value, second.deleted) == ("k", [1], False, None, True)


async def test_a_slow_reader_is_told_what_it_missed_and_may_go_on() -> None:
    state = State()
    changes = state.changes(buffer=2)
    for number in range(5):
        state["k"] = number
    assert [(await anext(changes)).value for _ in range(2)] == [0, 1]
    with pytest.raises(SubscriberTooSlow, match="3 arrived"):
        await anext(changes)
    state["k"] = 5
    assert (await anext(changes)).value == 5


async def test_a_write_in_a_thread_wakes_a_reader() -> None:
    state = State()
    waiting = asyncio.ensure_future(anext(state.changes()))
    await asyncio.sleep(0)
    thread = threading.Thread(target=state.__setitem__, args=("k", 1))
    thread.start()
    async with asyncio.timeout(5.0):
        assert (await waiting).value == 1
    thread.join()


async def test_a_team_made_by_hand_has_a_state_of_its_own() -> None:
    class Alone(Team):
        claim = publish = members = None  # type: ignore[assignment]

    one, other = Alone(), Alone()
    one.state["k"] = 1
    await one.state.synced()
    assert (dict(one.state), dict(other.state)) == ({"k": 1}, {})
