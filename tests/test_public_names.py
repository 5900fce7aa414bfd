"""The public surface: short, stated, importable by name, and no slower to start than it has to be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator

PUBLIC = {
    "messages": {"Task", "StreamTask", "Event"},
    "decorators": {"agent", "task", "on_event", "on_presence", "on_disconnect", "every"},
    "relations": {"Workers", "Handle", "Team", "Claim", "Presence", "Peer", "Progress", "State"},
    "what handlers are told": {"Context", "Joined", "Left", "Changed", "Disconnected"},
    "what handlers raise": {"Declined"},
    "from outside a topology": {"connect", "User", "Message", "SubscriberTooSlow", "ReconnectPolicy"}
    | {"Connected", "Reconnecting", "GoingAway", "TokenFailed", "Missed"},
}


def test_the_public_names_are_these() -> None:
    assert set(orchestrator.__all__) == set().union(*PUBLIC.values())
    assert len(orchestrator.__all__) == len(set(orchestrator.__all__))


@pytest.mark.parametrize("name", sorted(orchestrator.__all__))
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(orchestrator, name)
    assert value.__name__ == name
    assert value.__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(orchestrator.__file__).read_text(encoding="utf-8"))
    seen = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(orchestrator.__all__) <= seen


def test_they_are_listed_for_whoever_explores() -> None:
    assert set(orchestrator.__all__) <= set(dir(orchestrator))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Taks'"):
        _ = orchestrator.Taks


def test_importing_the_package_alone_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import orchestrator; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    third_party = {name.partition(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert third_party == {"orchestrator"}


def test_handlers_need_neither_a_hub_nor_a_socket() -> None:
    names = ", ".join(sorted(set(orchestrator.__all__) - PUBLIC["from outside a topology"]))
    code = f"import sys; from orchestrator import {names}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"aiohttp", "picows", "uvloop", "websockets", "jwt", "yaml", "structlog"}


def test_errors_are_public_as_a_module() -> None:
    from orchestrator import errors

    public = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(error, errors.OrchestratorError) for error in public)
    assert all(error.__doc__ for error in public)
