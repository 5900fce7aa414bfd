"""What is exported works: its commands, run on this machine as they are written, do a task together."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers import start_nats, start_valkey
from tests.deployment.exporting import documents, exported, project
from tests.deployment.typing_in import shown, typed
from tests.journeys.running import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.brokers import Broker

pytestmark = [pytest.mark.bars, pytest.mark.journey]

HANDLERS = """\
from collections.abc import AsyncIterator
from orchestrator import StreamTask, Task, Workers, agent, task


class Shout(Task[str]):
    word: str


class Say(StreamTask[str]):
    prompt: str


@agent
class Boss:
    workers: Workers

    @task
    async def say(self, ask: Say) -> AsyncIterator[str]:
        async for loud in self.workers.map([Shout(word=word) for word in ask.prompt.split()], ordered=True):
            yield loud + " "


@agent
class Helper:
    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        return job.word.upper()
"""
AGENTS = """\
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 3}
"""
KEPT = AGENTS.replace("replicas: 3", "replicas: 3, tasks: {delivery: at-least-once}")
ALONE = f"version: 1\nname: farm\n{AGENTS}"
IN_A_FILE = f"version: 1\nname: farm\nstore: sqlite:///tasks.db\n{KEPT}"
ON_NATS = f"version: 1\nname: farm\nhub: {{backplane: 'nats://10.0.0.5'}}\nstore: nats://10.0.0.5\n{KEPT}"
ON_REDIS = f"version: 1\nname: farm\nhub: {{backplane: 'redis://10.0.0.5'}}\nstore: redis://10.0.0.5\n{KEPT}"


@dataclass
class Farm:
    """A project with its exported files, whose paths and addresses are those of this machine."""

    folder: Path
    out: Path
    replaced: dict[str, str] = field(default_factory=dict)

    def words(self, words: Sequence[str]) -> list[str]:
        """Return a command with the places of this machine in it."""
        return [*(sys.executable, "-m", "orchestrator"), *map(self._word, words[1:])]

    def _word(self, word: str) -> str:
        for before, after in self.replaced.items():
            word = word.replace(before, after)
        return word

    @asynccontextmanager
    async def started(self, words: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command until this is left, and see it end in peace."""
        process = await asyncio.create_subprocess_exec(
            *self.words(words),
            cwd=self.folder,
            env=self.environ(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        try:
            yield process
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                _, said = await process.communicate()
            assert process.returncode == 0, said.decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def ended(self, words: Sequence[str]) -> int:
        """Run a command, and return its exit code."""
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *self.words(words), cwd=self.folder, env=self.environ(), stdin=quiet, stdout=quiet, stderr=quiet
        )
        async with asyncio.timeout(60):
            return await process.wait()

    async def asked(self, words: Sequence[str], agent: str, text: str) -> str:
        """Run the command of an agent until it has answered."""
        process = await asyncio.create_subprocess_exec(
            *self.words([*words, "--ask", agent, text, "--timeout", "90"]),
            cwd=self.folder,
            env=self.environ(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(120):
                answer, log = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, log.decode()
        return answer.decode().strip()

    def environ(self) -> dict[str, str]:
        trusted = f"/etc/ssl/certs:{self.out / 'trust'}"
        return {**os.environ, "PYTHONPATH": str(ROOT), "SSL_CERT_DIR": trusted}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def farm(folder: Path, engine: str, topology: str) -> Farm:
    """Export a topology, and type the commands that make its secrets."""
    project(folder, topology)
    (folder / "app.py").write_text(HANDLERS)
    files = exported(folder, engine)
    head = {"compose": "compose.yaml", "k8s": "kubernetes.yaml", "systemd": "farm.target"}[engine]
    made = Farm(folder, folder / "out")
    commands = [line.replace("/etc/orchestrator/farm", str(made.out)) for line in shown(files[head])]
    ours = ("kubectl ", "mkdir -p /opt", "tar ", "python3 -m venv", "install ", "export PATH", "systemctl ")
    typed(made.out, [line for line in commands if not line.startswith(ours)])
    return made


def placed(made: Farm, broker: Broker | None) -> None:
    """Have what was made for a broker of the files lead to one that runs here."""
    if broker is None:
        return
    for file in (made.out / "secrets" / "topology.env", made.out / "secrets" / "backplane"):
        text = re.sub(r"@[a-z0-9.-]+:(4222|6379)", f"@127.0.0.1:{broker.port}", file.read_text())
        file.write_text(text)


def brokered(made: Farm, topology: str) -> Broker | None:
    """Start the broker that a topology needs as its files have it, but for its ports."""
    if topology is ON_NATS:
        conf = made.out / "nats.conf"
        lines = [line for line in conf.read_text().splitlines() if not line.startswith(("listen:", "http:"))]
        config = (
            "\n".join(lines)
            .replace("include ", "include ./secrets/")
            .replace("store_dir: /data", f"store_dir: {made.out}/d")
        )
        return start_nats(made.out, config=config.replace("store_dir: /var/lib/farm-nats", f"store_dir: {made.out}/d"))
    if topology is ON_REDIS:
        users = str(made.out / "secrets" / "valkey-users.acl")
        pairs = [line.split(" ", 1) for line in (made.out / "valkey.conf").read_text().splitlines() if line[0] != "#"]
        settings = {name: value for name, value in pairs if name not in ("bind", "port", "dir")}
        return start_valkey(made.out / "valkey", settings={**settings, "aclfile": users})
    return None


async def ready(process: asyncio.subprocess.Process) -> None:
    """Wait until a hub says that it is ready."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await process.stdout.readline()
    assert b"the hub is ready" in line, (await process.communicate())[1].decode()


def only(words: Sequence[str]) -> str:
    return words[words.index("--only") + 1] if "--only" in words else ""


async def flows(
    made: Farm,
    hub: Sequence[str],
    hubs: int,
    agents: Sequence[Sequence[str]],
    host: str,
    probes: Sequence[Sequence[str]] = (),
) -> None:
    """Start hubs, and agents at them in turn; the last agent is asked, and its workers do what it hands them."""
    async with AsyncExitStack() as stack:
        ports = []
        for _ in range(hubs):
            ports.append(free_port())
            made.replaced |= {"0.0.0.0:7700": f"127.0.0.1:{ports[-1]}", "127.0.0.1:7700": f"127.0.0.1:{ports[-1]}"}
            await ready(await stack.enter_async_context(made.started([*hub])))
        *others, asked = agents
        for number, words in enumerate(others):
            made.replaced |= {f"{host}:7700": f"localhost:{ports[number % hubs]}"}
            await stack.enter_async_context(made.started(words))
        made.replaced |= {f"{host}:7700": f"localhost:{ports[-1]}"}
        assert await made.asked(asked, "boss", "from file to work") == "FROM FILE TO WORK"
        if others:  # they go on, and answer to what looks after them
            assert [await made.ended(words) for words in probes] == [0] * len(probes)


@pytest.mark.parametrize("topology", [ALONE, IN_A_FILE, ON_NATS, ON_REDIS], ids=["alone", "file", "nats", "redis"])
async def test_what_is_written_for_compose_does_a_task(topology: str, tmp_path: Path) -> None:
    made = farm(tmp_path / "farm", "compose", topology)
    broker = brokered(made, topology)
    try:
        placed(made, broker)
        made.replaced = {
            "/run/secrets": str(made.out / "secrets"),
            "/etc/orchestrator/hub": str(made.out / "secrets" / "hub"),
            "/etc/orchestrator/deployment.yaml": str(made.out / "deployment.yaml"),
        }
        overlay = made.out / "deployment.yaml"
        overlay.write_text(overlay.read_text().replace("/var/lib/orchestrator/farm", str(made.out / "data" / "agents")))
        [content] = documents((made.out / "compose.yaml").read_text())
        services: dict[str, Any] = content["services"]
        hub = services.pop("hub")
        agents = [each["command"] for each in services.values() if each["command"][0] == "orchestrator"]
        agents.sort(key=lambda words: only(words) == "boss")
        probes = [each["healthcheck"]["test"][1:] for each in services.values() if each["command"][0] == "orchestrator"]
        await flows(made, hub["command"], hub["deploy"].get("replicas", 1), agents, "hub", probes)
    finally:
        if broker is not None:
            broker.stop()


@pytest.mark.parametrize("topology", [ALONE, ON_NATS], ids=["alone", "nats"])
async def test_what_is_written_for_kubernetes_does_a_task(topology: str, tmp_path: Path) -> None:
    made = farm(tmp_path / "farm", "k8s", topology)
    objects = {
        (each["kind"], each["metadata"]["name"]): each for each in documents((made.out / "kubernetes.yaml").read_text())
    }
    (made.out / "deployment.yaml").write_text(objects["ConfigMap", "farm-deployment"]["data"]["deployment.yaml"])
    broker = None
    if topology is ON_NATS:  # its three servers find each other by names of a cluster: here there is one
        accounts = (made.out / "secrets" / "nats-accounts.conf").read_text()
        stored = f"jetstream {{ store_dir: {made.out}/d, sync_interval: always }}\n"
        broker = start_nats(made.out, config=accounts + stored)
    try:
        placed(made, broker)
        made.replaced = {
            "/etc/orchestrator/secrets": str(made.out / "secrets"),
            "/etc/orchestrator/backplane/url": str(made.out / "secrets" / "backplane"),
            "/etc/orchestrator/hub": str(made.out / "secrets" / "hub"),
            "/etc/orchestrator/deployment": str(made.out),
        }
        agents = []
        for name in ("farm-helper", "farm-boss"):
            spec = objects["StatefulSet", name]["spec"]
            [container] = spec["template"]["spec"]["containers"]
            for index in range(spec["replicas"]):
                number = str(index + spec.get("ordinals", {}).get("start", 0))
                agents.append([word.replace("$(POD_INDEX)", number) for word in container["command"]])
        hub = objects["Deployment", "farm-hub"]["spec"]
        [serving] = hub["template"]["spec"]["containers"]
        await flows(made, serving["command"], hub["replicas"], agents, "farm-hub")
    finally:
        if broker is not None:
            broker.stop()


@pytest.mark.parametrize("topology", [ALONE, IN_A_FILE, ON_NATS, ON_REDIS], ids=["alone", "file", "nats", "redis"])
async def test_what_is_written_for_systemd_does_a_task(topology: str, tmp_path: Path) -> None:
    made = farm(tmp_path / "farm", "systemd", topology)
    broker = brokered(made, topology)
    try:
        placed(made, broker)
        units = {path.name: path.read_text() for path in made.out.glob("*.service")}
        commands = {
            name: shlex.split(re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0]) for name, text in units.items()
        }
        made.replaced = {
            "%d/keys.yaml": str(made.out / "secrets" / "hub" / "keys.yaml"),
            "%d": str(made.out / "secrets"),
            "/etc/orchestrator/farm": str(made.out),
        }
        overlay = made.out / "deployment.yaml"
        (made.out / "data").mkdir()
        overlay.write_text(overlay.read_text().replace("/var/lib/orchestrator/farm", str(made.out / "data")))
        agents = [words for words in commands.values() if "run" in words[:2]]
        agents.sort(key=lambda words: only(words) == "boss")
        await flows(made, commands["farm-hub.service"], 1, agents, "127.0.0.1")
    finally:
        if broker is not None:
            broker.stop()
