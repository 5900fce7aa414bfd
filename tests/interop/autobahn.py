"""Autobahn's fuzzing client, in an environment of its own, against the hub's frames with nothing but an echo behind.

It needs CPython 2.7, and so do the pinned packages, each the newest that it runs with.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.hub import wire
from orchestrator.hub.core import Hub
from orchestrator.hub.intake import Refused, read
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import CloseCode
from tests.hub.sockets import BINARY, KEY, token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.outbox import Outbox

HOME = Path(__file__).resolve().parents[2] / ".venv-autobahn"
SUITE = "autobahntestsuite==25.10.1"
PINS = (
    SUITE,
    "Automat==22.10.0",
    "Twisted==19.10.0",
    "argparse==1.4.0",
    "attrs==21.4.0",
    "autobahn==0.10.9",
    "cffi==1.15.1",
    "constantly==15.1.0",
    "cryptography==3.3.2",
    "enum34==1.1.10",
    "hyperlink==21.0.0",
    "idna==2.10",
    "incremental==16.10.1",
    "ipaddress==1.0.23",
    "jinja2==2.11.3",
    "linecache2==1.0.0",
    "markupsafe==1.1.1",
    "pyOpenSSL==19.1.0",
    "pycparser==2.21",
    "setuptools==44.0.0",
    "six==1.16.0",
    "traceback2==1.4.0",
    "txaio==2.1.0",
    "typing==3.10.0.0",
    "unittest2==1.1.0",
    "zope.interface==4.6.0",
)
ACCELERATOR = "wsaccel==0.6.2"
"""Wanted, not needed: it takes a C compiler, and without it the client needs three times as long."""
LARGEST = 16 * 2**20
"""Bytes of the largest message in group 9."""


class Unavailable(Exception):
    """The environment cannot be made, although the interpreter is there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the client says of one case."""

    case: str
    behavior: str
    closing: str

    @property
    def strict(self) -> bool:
        return {self.behavior, self.closing} <= {"OK", "INFORMATIONAL"}


def command() -> list[str]:
    """Return how to run the client. Skips the test where CPython 2.7 is missing; in CI for no other reason."""
    python = _interpreter()
    if python is None:
        pytest.skip(
            "Autobahn's fuzzing client needs CPython 2.7 with pip, and this machine has none;"
            " tests/hub/test_strict_frames.py holds the rules of frames without it"
        )
    try:
        packages = _packages(python)
    except Unavailable as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    start = f"import site; site.addsitedir({str(packages)!r}); from autobahntestsuite.wstest import run; run()"
    return [python, "-c", start]


def _interpreter() -> str | None:
    found = [shutil.which("python2.7")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip()
        found += [str(path) for path in sorted(Path(root, "versions").glob("2.7*/bin/python2.7"))]
    return next((python for python in found if python is not None and _runs(python)), None)


def _runs(python: str) -> bool:
    """Tell whether it is more than a name: those that pyenv puts on the path run only where they are chosen."""
    return subprocess.run([python, "-c", "import pip, ssl"], capture_output=True, check=False).returncode == 0


def _packages(python: str) -> Path:
    """Return the folder of the pinned packages, made by the first process that asks while others wait."""
    folder = HOME / SUITE.replace("==", "-")
    made = folder / ".made"
    HOME.mkdir(exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != "\n".join(PINS):
            shutil.rmtree(folder, ignore_errors=True)
            _install(python, folder, PINS, needed=True)
            _install(python, folder, [ACCELERATOR], needed=False)
            made.write_text("\n".join(PINS))
    return folder


def _install(python: str, folder: Path, pins: Iterable[str], *, needed: bool) -> None:
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", str(folder)]
    try:
        subprocess.run([*pip, *pins], check=True, capture_output=True, timeout=300, stdin=subprocess.DEVNULL)
    except subprocess.SubprocessError as error:
        if needed:
            output = (getattr(error, "stderr", None) or b"")[-500:].decode(errors="replace")
            raise Unavailable(f"{SUITE} could not be installed for CPython 2.7: {error} {output}") from None


class Echo(Hub):
    """An application that sends every message back; all that is below it is the hub's own."""

    def connect(self, identity: Identity, outbox: Outbox, now: float, wall: float) -> Connection | None:
        connection = super().connect(identity, outbox, now, wall)
        outbox.frames.pop()  # the welcome, behind the answer to the handshake
        return connection

    def receive(self, connection: Connection, text: bytes, now: float) -> None:
        self.turn.now = connection.heard = now
        try:
            read(text)
        except UnicodeDecodeError:
            self.violation(connection, CloseCode.INVALID_TEXT, now)
            return
        except Refused:  # no request of the protocol, but text
            pass
        connection.outbox.put(wire.text_frame(text))

    def receive_binary(self, connection: Connection, message: bytes, now: float) -> None:
        self.turn.now = connection.heard = now
        connection.outbox.put(bytes([0x80 | BINARY]) + wire.text_frame(message)[1:])


async def verdicts(client: list[str], cases: Iterable[str], folder: Path) -> list[Verdict]:
    """Let the client try these cases, each named or `1.*` for all of a group, and return what it says."""
    settings = Settings(max_frame=LARGEST + 1024, outbox_bytes=4 * LARGEST, outbox_age=120.0, drain_grace=0.5)
    server = Server(KeyRing([KEY]), settings)
    server.hub = Echo(settings)
    await server.start(listen(parse_address("127.0.0.1:0")))
    try:
        url = f"{server.url}/v1?token={token('autobahn', life=3600, rate='unlimited')}"
        plan = {
            "outdir": str(folder / "reports"),
            "servers": [{"agent": "hub", "url": url}],
            "cases": list(cases),
            "exclude-cases": [],
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        with (folder / "output").open("w") as output:
            arguments = ["-m", "fuzzingclient", "-s", str(folder / "plan.json")]
            process = await asyncio.create_subprocess_exec(*client, *arguments, stdout=output, stderr=output)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        assert code == 0, (folder / "output").read_text()[-2000:]
    finally:
        await server.drain()
    found = json.loads((folder / "reports" / "index.json").read_text())["hub"]
    return [Verdict(case, said["behavior"], said["behaviorClose"]) for case, said in found.items()]
