"""What is written for systemd is what it reads, word by word."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from orchestrator.deployment.commands import AGENT_GRACE, HUB_DRAIN
from orchestrator.deployment.systemd import quoted
from tests.deployment.exporting import TOPOLOGIES, VALUES, command_problem, files_of
from tests.deployment.schemas import program

if TYPE_CHECKING:
    from pathlib import Path


def value(unit: str, key: str) -> str:
    [found] = re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)
    return str(found)


def words(unit: str) -> list[str]:
    """Return a unit's command as systemd would have it, but for the folder of credentials."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value(unit, "ExecStart"))]


def services(kind: str) -> dict[str, str]:
    return {name: text for name, text in files_of(kind, "systemd").items() if "ExecStart=" in text}


@pytest.mark.parametrize("kind", ["both", "kept in a file", "programs"])
def test_systemd_has_nothing_against_it(kind: str, tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "the package systemd of Debian")
    stand_in = tmp_path / "program"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    units = []
    for name, text in files_of(kind, "systemd").items():
        if name.endswith((".service", ".target", ".path")):
            unit = tmp_path / name
            unit.write_text(re.sub(r"^(ExecStart(?:Post)?=-?)\S+", rf"\1{stand_in}", text, flags=re.MULTILINE))
            units.append(str(unit))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_every_command_is_one_that_there_is(kind: str) -> None:
    for unit in services(kind).values():
        command = words(unit)
        if command[0].endswith("/orchestrator"):
            assert command_problem(["orchestrator", *command[1:]]) == ""


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_what_a_unit_reads_of_its_credentials_is_given_to_it(kind: str) -> None:
    for unit in services(kind).values():
        given = set(re.findall(r"^LoadCredential=([^:]+):", unit, re.MULTILINE))
        assert set(re.findall(r"%d/(\S+)", value(unit, "ExecStart"))) <= given


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_all_units_are_started_by_the_target(kind: str) -> None:
    files = files_of(kind, "systemd")
    [target] = [text for name, text in files.items() if name.endswith(".target")]
    wanted = {name for line in re.findall(r"^Wants=(.*)$", target, re.MULTILINE) for name in line.split()}
    assert wanted == {name for name in files if name.endswith((".service", ".path"))} - {
        name for name in files if name.endswith("-hub-keys.service")
    }


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_units_may_do_little_and_have_limits(kind: str) -> None:
    for name, unit in services(kind).items():
        if not name.endswith("-hub-keys.service"):
            assert "\nDynamicUser=yes\n" in unit
            assert "\nProtectSystem=strict\n" in unit
            assert value(unit, "CapabilityBoundingSet") == ""
            assert value(unit, "MemoryMax")
            assert value(unit, "TasksMax")
            assert "Environment=" not in unit


def test_units_have_longer_to_end_than_what_runs_in_them_takes() -> None:
    found = services("alone")
    assert int(value(found["alone-hub.service"], "TimeoutStopSec")) > HUB_DRAIN
    assert int(value(found["alone-boss.service"], "TimeoutStopSec")) > AGENT_GRACE


def test_a_key_that_is_revoked_has_the_hub_started_again() -> None:
    files = files_of("alone", "systemd")
    watched = value(files["alone-hub-keys.path"], "PathChanged")
    assert f"LoadCredential=keys.yaml:{watched}" in files["alone-hub.service"]
    assert value(files["alone-hub-keys.service"], "ExecStart").endswith(" try-restart alone-hub.service")


def test_without_tls_the_hub_is_reached_on_its_own_machine_alone() -> None:
    files = files_of("nats", "systemd")
    assert "127.0.0.1:7700" in words(files["newsroom-hub.service"])
    assert "ws://127.0.0.1:7700" in words(files["newsroom-boss.service"])


def test_the_file_of_a_store_lies_where_its_unit_may_write() -> None:
    files = files_of("kept in a file", "systemd")
    state = value(files["file-kept-agents.service"], "StateDirectory")
    assert f"sqlite:////var/lib/{state}/tasks.db" in files["deployment.yaml"]


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_no_value_of_a_variable_is_written(kind: str) -> None:
    for text in files_of(kind, "systemd").values():
        assert not [secret for secret in (*VALUES.values(), "whispered") if secret in text]


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a$b", '"a$$b"'),
        ("100%", '"100%%"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\nbreak", '"line\\x0abreak"'),
        ("it's", '"it\'s"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    assert quoted([word]) == written
