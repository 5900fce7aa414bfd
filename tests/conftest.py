"""Hazard 45 over the whole suite: no test prints, logs, raises or leaves in an open file what opens something.

Looked through are each test's report, what it read from `capsys` or from a process that it started, and its files. A
test that shows secrets on purpose says why: ``@pytest.mark.shows_secrets("the command prints a key")``.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.canary import Ear, Finding, Folders, found, found_in_text, masked, overheard

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytest_plugins = ["tests.nodes"]

MARKER = "shows_secrets"

_folders = Folders()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}(why): prints or leaves keys or tokens, and has a reason to")
    patch = pytest.MonkeyPatch()
    patch.setattr(asyncio.SelectorEventLoop, "connect_read_pipe", _overhearing(asyncio.SelectorEventLoop))
    patch.setattr(subprocess.Popen, "communicate", _telling(subprocess.Popen.communicate, "what a process printed"))
    patch.setattr(
        pytest.CaptureFixture, "readouterr", _telling(pytest.CaptureFixture.readouterr, "the captured output")
    )
    config.add_cleanup(patch.undo)


def _overhearing(loop: type[asyncio.SelectorEventLoop]) -> Callable[..., Any]:
    """Return a way to open pipes on which is looked through what comes by them: all that children print."""
    connect = loop.connect_read_pipe

    def connect_read_pipe(self: asyncio.SelectorEventLoop, factory: Callable[[], Any], pipe: Any) -> Any:
        def listening() -> Any:
            protocol, ear = factory(), Ear("what a process printed")
            receive = protocol.data_received

            def data_received(data: bytes) -> None:
                overheard.extend(ear.hear(data))
                receive(data)

            protocol.data_received = data_received
            return protocol

        return connect(self, listening, pipe)

    return connect_read_pipe


def _telling(reading: Callable[..., Any], where: str) -> Callable[..., Any]:
    """Return a function that looks through the two texts that it returns."""

    def read(*args: Any, **options: Any) -> Any:
        texts = reading(*args, **options)
        for text in texts:
            if text:
                overheard.extend(found_in_text(text, where) if isinstance(text, str) else found(text, where))
        return texts

    return read


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers(MARKER):
            if len(marker.args) != 1 or not isinstance(marker.args[0], str) or marker.kwargs:
                raise pytest.UsageError(f'{item.nodeid}: say why: @pytest.mark.{MARKER}("…")')


def pytest_collection_finish() -> None:
    """Have the collector of garbage pass over all that was imported and collected: it stays to the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    item.stash[_IS_LAST] = nextitem is None
    return (yield)


_IS_LAST = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    findings = [*dict.fromkeys((*overheard, *_in_report(report)))]
    overheard.clear()
    on_purpose = item.get_closest_marker(MARKER) is not None
    if on_purpose:
        findings.clear()
    if report.when == "teardown":
        findings += _in_files(item, on_purpose=on_purpose)
    if findings:
        _fail(report, findings)
    return report


def _in_report(report: pytest.TestReport) -> list[Finding]:
    """Return what is found in the part of a report that is new in it."""
    texts = [(name, text) for name, text in report.sections if name.endswith(f" {report.when}")]
    if report.longrepr is not None:
        texts.append(("the report of a failure", report.longreprtext))
    return [finding for name, text in texts for finding in found_in_text(text, name)]


def _in_files(item: pytest.Item, *, on_purpose: bool) -> list[Finding]:
    """Return what a test has left in files; after the last one, what all of them have."""
    own = getattr(item, "funcargs", {}).get("tmp_path")
    if own is not None and on_purpose:
        _folders.spared.add(str(own))
    elif own is not None and (findings := _folders.found(own)):
        return findings
    factory: pytest.TempPathFactory | None = getattr(item.config, "_tmp_path_factory", None)
    return _folders.found(factory.getbasetemp()) if item.stash[_IS_LAST] and factory is not None else []


def _fail(report: pytest.TestReport, findings: list[Finding]) -> None:
    """Have a test fail for what was found, and its report repeat none of it."""
    said = masked(report.longreprtext) if report.failed else ""
    report.outcome = "failed"
    report.longrepr = "\n".join((*([said] if said else []), *map(str, findings)))
    report.sections = [(name, masked(text)) for name, text in report.sections]
