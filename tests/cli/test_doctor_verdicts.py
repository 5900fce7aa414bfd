"""What `doctor` makes of what its probes found: no machine is asked here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import doctor_machine as machine
from orchestrator.cli import doctor_topology as verdicts
from orchestrator.cli.doctor_findings import Finding, as_object, ok, text, wrong
from orchestrator.cli.doctor_reach import Held, HubAnswer, KeptFile, PortUse
from orchestrator.cli.requirements import read_requirement

CORE = [
    read_requirement(each) for each in ("pydantic>=2.11", "picows<2.4,>=2.3", "uvloop>=0.22; sys_platform != 'win32'")
]
EXTRA = [*CORE, read_requirement("nats-py<3,>=2.11; extra == 'nats'")]
FITTING = {"pydantic": "2.12.1", "picows": "2.3", "uvloop": "0.22.1", "nats-py": None}


@pytest.mark.parametrize(
    ("requirement", "version", "taken"),
    [
        ("a>=2.11", "2.11", True),
        ("a>=2.11", "2.9.9", False),
        ("a>=2.11", "2.11.0rc1", True),
        ("a<2.4,>=2.3", "2.4", False),
        ("a<2.4,>=2.3", "2.3.99", True),
        ("a<3", "3.0.0", False),
        ("a!=1.5", "1.5.0", False),
        ("a", "anything", True),
        ("a[more]>=5.2,<9; extra == 'redis'", "9.0", False),
    ],
)
def test_a_version_is_in_a_range_or_not(requirement: str, version: str, taken: bool) -> None:
    assert read_requirement(requirement).takes(version) is taken


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_versions_are_compared_number_by_number(low: list[int], high: list[int]) -> None:
    low, high = sorted((low, high))
    shown = ".".join(map(str, high))
    assert read_requirement(f"a>={'.'.join(map(str, low))}").takes(shown)


def marks(findings: object) -> list[str]:
    assert isinstance(findings, list)
    return [finding.mark for finding in findings]


@pytest.mark.parametrize(
    ("installed", "says"),
    [
        (FITTING, "3 packages, in the versions that are wanted"),
        ({**FITTING, "picows": "2.4"}, "picows is 2.4, and <2.4,>=2.3 is wanted"),
        ({**FITTING, "pydantic": None}, "pydantic is not installed"),
    ],
)
def test_packages_are_compared_with_what_is_wanted(installed: dict[str, str | None], says: str) -> None:
    [finding] = machine.packages(CORE, installed, "linux")
    assert finding.sentence == says
    assert (finding.mark == "ok") == (installed is FITTING)
    assert bool(finding.advice) == (finding.mark == "wrong")


def test_what_another_system_needs_is_not_missed() -> None:
    [finding] = machine.packages(CORE, {**FITTING, "uvloop": None}, "win32")
    assert finding == ok("packages", "2 packages, in the versions that are wanted")


@pytest.mark.parametrize(
    ("version", "needed", "mark"),
    [(None, False, "none"), (None, True, "wrong"), ("2.12", True, "ok"), ("3.1", False, "wrong")],
)
def test_an_extra_is_wrong_where_it_is_needed_and_missing(version: str | None, needed: bool, mark: str) -> None:
    found = machine.extras(EXTRA, {**FITTING, "nats-py": version}, {"nats"} if needed else set())
    assert next(each.mark for each in found if each.check == "extra nats") == mark


CASES = [
    (machine.python((3, 11, 0)), "ok"),
    (machine.python((3, 10, 4)), "wrong"),
    (machine.fast_parts({}, "linux"), "ok"),
    (machine.fast_parts({"uvloop": "no module"}, "linux"), "wrong"),
    (machine.open_files(1_024, 1_048_576, 900), "ok"),
    (machine.open_files(1_024, -1, 5_000), "ok"),
    (machine.open_files(1_024, 4_096, 5_000), "wrong"),
    (machine.open_files(256, 512, None), "wrong"),
    (machine.clock(machine.Clocks(0.4, 0.4, 1.8e9)), "ok"),
    (machine.clock(machine.Clocks(-3_599.6, 0.4, 1.8e9)), "wrong"),
    (machine.clock(machine.Clocks(0.4, 0.4, 12.0)), "wrong"),
    (machine.runtime_folder(machine.Place("/run/x", there=False, ours=False)), "ok"),
    (machine.runtime_folder(machine.Place("/run/x", there=True, ours=False)), "wrong"),
    (machine.stale_seats(".", 0), "ok"),
    (machine.stale_seats(".", 2), "wrong"),
    (machine.terminal(machine.Screen(True, "xterm", 80, "UTF-8", True)), "ok"),
    (machine.terminal(machine.Screen(True, "xterm", 80, "ANSI_X3.4-1968", True)), "none"),
    (machine.terminal(machine.Screen(False, "", 80, "UTF-8", False)), "none"),
    (verdicts.key(None, local=True), "none"),
    (verdicts.key(None, local=False), "wrong"),
    (verdicts.port(PortUse("127.0.0.1", 0)), "ok"),
    (verdicts.port(PortUse("127.0.0.1", 80, why="permission denied")), "wrong"),
    (verdicts.engine("store", "nats://…", ""), "ok"),
]


@pytest.mark.parametrize(("finding", "mark"), CASES)
def test_a_verdict_says_what_to_do_where_something_is_wrong(finding: Finding, mark: str) -> None:
    assert finding.mark == mark
    assert bool(finding.advice) or mark != "wrong"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HubAnswer("wss://h", skew=1.0), ["ok", "ok"]),
        (HubAnswer("wss://h", skew=-40.0), ["ok", "wrong"]),
        (HubAnswer("wss://h"), ["ok"]),
        (HubAnswer("wss://h", refused=4002), ["wrong"]),
    ],
)
def test_a_hub_is_told_with_its_clock(answer: HubAnswer, expected: list[str]) -> None:
    assert marks(list(verdicts.hub(answer))) == expected


@pytest.mark.parametrize(
    ("kept", "mark"),
    [
        (KeptFile("/t.db", room=10**12), "ok"),
        (KeptFile("/t.db", there=True, room=10**12, run=7), "ok"),
        (KeptFile("/t.db", there=True, room=10**12), "ok"),
        (KeptFile("/t.db", room=1_000), "wrong"),
        (KeptFile("/t.db", room=10**12, why="it is no file", advice="move it"), "wrong"),
    ],
)
def test_a_store_is_told_with_its_room(kept: KeptFile, mark: str) -> None:
    assert marks(list(verdicts.store_file(kept))) == [mark]


def test_files_of_secrets_are_told_once_where_all_are_private() -> None:
    private, open_to_all = Held("a", 0o600, "holds it", "chmod"), Held("b", 0o640, "holds it", "chmod")
    assert marks(list(verdicts.secret_files([private, private]))) == ["ok"]
    assert marks(list(verdicts.secret_files([private, open_to_all]))) == ["wrong"]


def test_findings_are_told_without_what_a_terminal_obeys() -> None:
    hostile = wrong("port", "used by \x1b[2Jme\u2028", "dö this")
    lines = list(text([hostile], unicode=False, colour=False))
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert lines[-1] == "1 looked at, 1 wrong"
    assert as_object([hostile])["ok"] is False
