"""The suites on two hubs that a broker joins, in place of one: ``pytest --nodes nats tests/hub``, or ``--nodes redis``.

Whatever makes a hub for a test makes two then, and gives its connections to them by turns: tests need not know. Left out
are those that say ``@pytest.mark.one_hub("why")``. Without the option, a test that says ``@pytest.mark.nodes("nats")``
is run on one hub, and once more on two.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.brokers import Broker, nats_broker, valkey_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = ["nats_broker", "valkey_broker"]

_FIXTURES: Final = {"nats": "nats_broker", "redis": "valkey_broker"}
_FIXTURE: Final = "joined_by"
_USED: Final = "two hubs"
"""The property of a report whose test has made some."""
_numbers: Final = itertools.count(1)
_joined_by: Broker | None = None
_used = False
_endings: Final[list[Callable[[], None]]] = []


def new_neighbourhood() -> str | None:
    """Return the address that hubs of one test are to share, and nobody else has; `None` = a hub is to be alone."""
    global _used
    if _joined_by is None:
        return None
    _used = True
    return f"{_joined_by.url}/t{os.getpid()}-{next(_numbers)}"


def joined() -> bool:
    """Tell whether hubs are two."""
    return _joined_by is not None


def at_the_end_of_the_test(ending: Callable[[], None]) -> None:
    _endings.append(ending)


# -- for pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nodes", choices=sorted(_FIXTURES), help="run tests of a hub on two, joined by this broker")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nodes(*brokers): is run on two hubs that a broker joins, too")
    config.addinivalue_line("markers", "one_hub(why): tells of one hub alone, and is left out where there are two")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--nodes")
    kinds = [kind for mark in metafunc.definition.iter_markers("nodes") for kind in mark.args]
    if chosen is None and kinds:
        ids = [pytest.HIDDEN_PARAM, *(f"two-{kind}" for kind in kinds)]
        metafunc.parametrize(_FIXTURE, [None, *kinds], ids=ids, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("one_hub"):
            if len(mark.args) != 1 or not isinstance(mark.args[0], str) or mark.kwargs:
                raise pytest.UsageError(f'{item.nodeid}: say why: @pytest.mark.one_hub("…")')
    if config.getoption("--nodes") is not None:
        alone = [item for item in items if item.get_closest_marker("one_hub") is not None]
        if alone:
            config.hook.pytest_deselected(items=alone)
            items[:] = [item for item in items if item.get_closest_marker("one_hub") is None]


@pytest.fixture(scope="session", autouse=True)
def joined_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have hubs be two from now on, if that is wanted."""
    global _joined_by
    kind: str | None = getattr(request, "param", request.config.getoption("--nodes"))
    _joined_by = None if kind is None else request.getfixturevalue(_FIXTURES[kind])
    with pytest.MonkeyPatch.context() as patch:
        if kind is not None:
            from orchestrator.testing import network
            from tests.joined_cores import new_hub

            patch.setattr(network, "Hub", new_hub)
        yield
    _joined_by = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    global _used
    try:
        return (yield)
    finally:
        while _endings:
            _endings.pop()()
        if _used:
            item.user_properties.append((_USED, True))
        _used = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    kind = config.getoption("--nodes")
    if kind is not None:
        reports = [report for reports in terminalreporter.stats.values() for report in reports]
        count = sum((_USED, True) in getattr(report, "user_properties", ()) for report in reports)
        terminalreporter.write_line(f"{count} of the tests were run on two hubs, joined by {kind}")
