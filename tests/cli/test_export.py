"""`orchestrator export`: what it writes where, what it leaves alone, and what it says."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.cli.export import ENGINES
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from tests.canary import CANARY
from tests.deployment.exporting import AGENTS, TOPOLOGIES, documents, project


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = project(tmp_path / "desk", TOPOLOGIES["nats"])
    monkeypatch.chdir(made)
    return made


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_topology_is_exported_as_the_same_files(engine: str, folder: Path) -> None:
    assert main(["export", engine, "topology.yaml"]) == ExitCode.DONE
    before = read(folder)
    shutil.rmtree(folder / "deploy")
    assert main(["export", engine, "topology.yaml"]) == ExitCode.DONE
    assert read(folder) == before


def test_it_says_what_it_wrote_and_what_to_do_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "compose", "topology.yaml"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.startswith("wrote compose.yaml, deployment.yaml, nats.conf, Dockerfile, ")
    assert "next, in deploy/compose:\n" in out
    assert out.endswith("  docker compose up -d --build\n")


def test_files_that_are_as_they_would_be_are_no_trouble(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.DONE
    capsys.readouterr()
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.DONE
    assert capsys.readouterr().out.startswith("deploy/k8s has all of it already\n")


def test_files_that_differ_are_overwritten_only_by_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.DONE
    before = read(folder)
    (folder / "deploy" / "k8s" / "kubernetes.yaml").write_text("mine\n")
    (folder / "deploy" / "k8s" / "Dockerfile").unlink()
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.USAGE
    assert "'kubernetes.yaml' in 'deploy/k8s' is not what would be written, and nothing was" in capsys.readouterr().err
    assert not (folder / "deploy" / "k8s" / "Dockerfile").exists()
    assert main(["export", "k8s", "topology.yaml", "--force"]) == ExitCode.DONE
    assert read(folder) == before


def test_the_stream_of_kubernetes_is_what_the_file_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "k8s", "topology.yaml", "--out", "-"]) == ExitCode.DONE
    streamed = capsys.readouterr().out
    assert read(folder).keys() == {"topology.yaml"}
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.DONE
    assert (folder / "deploy" / "k8s" / "kubernetes.yaml").read_text() == streamed


def test_a_stream_of_units_names_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "systemd", "topology.yaml", "--out", "-"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.startswith("# newsroom.target\n")
    assert "\n# newsroom-hub.service\n" in out


def test_the_image_is_the_one_that_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "k8s", "topology.yaml", "--image", "registry.example/news:7", "--out", "-"]) == ExitCode.DONE
    images = {
        container["image"]
        for each in documents(capsys.readouterr().out)
        for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    }
    assert images == {"registry.example/news:7", "nats:2-alpine"}


def test_the_project_around_the_topology_is_what_goes_into_the_image(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("")
    (folder / "requirements.txt").write_text("")
    (folder / "nested").mkdir()
    (folder / "topology.yaml").rename(folder / "nested" / "topology.yaml")
    assert main(["export", "compose", "nested/topology.yaml"]) == ExitCode.DONE
    [content] = documents((folder / "deploy" / "compose" / "compose.yaml").read_text())
    boss = content["services"]["boss"]
    assert boss["build"] == {"context": "../..", "dockerfile": "deploy/compose/Dockerfile"}
    assert boss["command"][:3] == ["orchestrator", "run", "nested/topology.yaml"]
    assert "-r /tmp/requirements.txt" in (folder / "deploy" / "compose" / "Dockerfile").read_text()
    assert "\ndeploy/compose\n" in (folder / "deploy" / "compose" / "Dockerfile.dockerignore").read_text()


def test_the_image_holds_this_version_with_what_the_broker_needs_and_is_not_run_by_root(folder: Path) -> None:
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.DONE
    lines = (folder / "deploy" / "k8s" / "Dockerfile").read_text().splitlines()
    assert f"RUN pip install --no-cache-dir 'topology-orchestrator[nats]=={version('topology-orchestrator')}'" in lines
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert "**/.env" in (folder / "deploy" / "k8s" / "Dockerfile.dockerignore").read_text().splitlines()


def test_a_file_outside_of_the_project_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "large.yaml").write_text("workers: {helper: {replicas: 9}}\n")
    assert main(["export", "k8s", "-f", "topology.yaml", "-f", "../large.yaml"]) == ExitCode.USAGE
    assert "../large.yaml does not lie in" in capsys.readouterr().err
    assert not (folder / "deploy").exists()


def test_profiles_and_further_files_are_those_of_the_deployment(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "large.yaml").write_text("profiles: {huge: {workers: {helper: {replicas: 9}}}}\n")
    words = ["export", "k8s", "-f", "topology.yaml", "-f", "large.yaml", "--profile", "huge", "--out", "-"]
    assert main(words) == ExitCode.DONE
    [helper] = [
        each["spec"]
        for each in documents(capsys.readouterr().out)
        if each["metadata"]["name"] == "newsroom-helper" and each["kind"] == "StatefulSet"
    ]
    assert helper["replicas"] == 9
    command = helper["template"]["spec"]["containers"][0]["command"]
    overlay = "/etc/orchestrator/deployment/deployment.yaml"
    assert command[2:9] == ["topology.yaml", "-f", "large.yaml", "-f", overlay, "--profile", "huge"]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_password_is_shown_or_written(
    engine: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("URL", f"nats://someone:{CANARY}@10.0.0.5:4222")
    (folder / "topology.yaml").write_text(
        f"version: 1\nhub: {{backplane: '${{URL}}'}}\nstore: '${{URL}}'\n{AGENTS}".replace(
            "replicas: 3", "replicas: 3, tasks: {delivery: at-least-once}, environment: {KEY: '${URL}'}"
        )
    )
    assert main(["export", engine, "topology.yaml"]) == ExitCode.DONE
    assert CANARY not in "".join(capsys.readouterr())
    assert [name for name, raw in read(folder).items() if CANARY.encode() in raw] == []


def test_a_folder_that_cannot_be_written_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "deploy").write_text("")
    assert main(["export", "k8s", "topology.yaml"]) == ExitCode.USAGE
    assert "deploy/k8s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "helm", "topology.yaml"], "invalid choice: 'helm'"),
        (["export", "k8s", "topology.yaml", "--hubs", "none"], "'none' is not a number of hubs, 1 to 100"),
        (["export", "k8s"], "name a topology file"),
        (["export", "systemd", "topology.yaml", "--hubs", "2"], "--hubs: a machine with systemd has one hub"),
    ],
)
def test_what_is_typed_wrongly_is_said(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == ExitCode.USAGE
    assert said in capsys.readouterr().err
