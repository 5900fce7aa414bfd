"""`orchestrator doctor`, with what is wrong really being so."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import doctor, doctor_reach
from orchestrator.cli.doctor_machine import EXTRAS
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.runtime.run_seat import registered
from tests.cli.help_folder import Lasting
from tests.cli.task_files import each_state, fill
from tests.cli.terminals import plain_environment
from tests.runtime.processes import ROOT
from tests.store.test_sqlite_full_disk import namespace

Capture = pytest.CaptureFixture[str]
SECRET = "sk_secret_" + "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
KEY = f"sk_id_0123456789ab:{SECRET}"
CERTIFICATE = ROOT / "tests" / "hub" / "localhost.pem"
AGENTS = """
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, tasks: {delivery: at-least-once}}
"""
HUB = 'hub: {url: "URL", key: "${HUB_KEY}"}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_KEY", KEY)
    monkeypatch.setattr(doctor_reach, "PATIENCE", 1.0)
    monkeypatch.setattr(doctor, "_WATCHED", 0.0)
    return tmp_path


def topology(head: str = "", store: str = "memory:") -> str:
    Path("farm.yaml").write_text(f"version: 1\nstore: {json.dumps(store)}\n{head}{AGENTS}")
    return "farm.yaml"


def findings(capsys: Capture, *words: str, code: int) -> dict[str, list[dict[str, Any]]]:
    """Return what the command found, by what it looked at."""
    assert main(["doctor", *words, "--json"]) == code
    [line] = capsys.readouterr().out.splitlines()
    assert SECRET not in line
    told = json.loads(line)
    assert told["ok"] == (code == ExitCode.DONE)
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in told["findings"]:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def wrong(capsys: Capture, *words: str) -> dict[str, str]:
    """Return what is wrong, which is something."""
    found = findings(capsys, *words, code=ExitCode.FAILED)
    bad = [finding for each in found.values() for finding in each if finding["mark"] == "wrong"]
    assert all(finding["advice"] or finding["check"] == "topology" for finding in bad)
    return {finding["check"]: finding["sentence"] for finding in bad}


def test_a_good_machine_and_a_good_topology_are_told_so(capsys: Capture) -> None:
    general = findings(capsys, code=ExitCode.DONE)
    assert {"python", "packages", "hub's libraries", "open files", "clock", "terminal", "dead runs"} <= general.keys()
    assert not {"topology", "port", "store"} & general.keys()
    found = findings(capsys, topology(), code=ExitCode.DONE)
    assert general.keys() < found.keys()
    assert found["store"][0]["mark"] == "ok"
    assert found["backplane"][0]["mark"] == found["key"][0]["mark"] == "none"


def test_people_are_told_in_lines_with_what_to_do_below(capsys: Capture) -> None:
    Path("farm.yaml").write_text("version: 1\nworkers: {a: {handler: app}, b: {handlr: app}}\n")
    assert main(["doctor", "farm.yaml"]) == ExitCode.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"✓ python +Python 3", line) for line in lines)
    assert any("✗ topology" in line and "unknown key 'handlr'" in line for line in lines)
    assert re.fullmatch(r"\d+ looked at, \d+ wrong", lines[-1])


def test_signs_are_ascii_where_the_terminal_has_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "doctor"],
        env=plain_environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.isascii()
    assert done.stdout.startswith(b"+ python ")


def test_mistakes_of_a_topology_are_told_and_the_rest_goes_on(capsys: Capture) -> None:
    Path("farm.yaml").write_text("version: 1\nworkers: {a: {handlr: app}}\nhub: {key: '${NOT_THERE}'}\n")
    found = findings(capsys, "farm.yaml", code=ExitCode.FAILED)
    assert len(found["topology"]) >= 2
    assert found["clock"][0]["mark"] == "ok"
    assert findings(capsys, "nowhere.yaml", code=ExitCode.FAILED)["python"]


def test_every_extra_of_the_package_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, packages in project["optional-dependencies"].items():
        assert EXTRAS[extra][0] in {re.split(r"[\[<>=;]", package)[0] for package in packages}


# -- key and files


def test_a_weak_key_is_told(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = topology('hub: {key: "${HUB_KEY}"}\n')
    monkeypatch.setenv("HUB_KEY", KEY[:-17])
    assert wrong(capsys, file) == {"key": "the secret of sk_id_0123456789ab has 25 bytes, and 32 is the least"}
    monkeypatch.setenv("HUB_KEY", f"sk_id_0123456789ab:sk_secret_{'ab' * 20}")
    assert "is made of 2 different characters alone" in wrong(capsys, file)["key"]


def test_a_file_with_a_key_that_others_can_read_is_told(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_KEY")
    file = topology('hub: {key: "${HUB_KEY}"}\n')
    secret = Path(".env")
    secret.write_text(f"HUB_KEY=sk_id_0123456789ab:sk_secret_{'not a real key, ' * 3}\n".replace(" ", "x"))
    secret.chmod(0o644)
    assert "others can read it (mode 644)" in wrong(capsys, file)["secret files"]
    secret.chmod(0o600)
    assert findings(capsys, file, code=ExitCode.DONE)["secret files"][0]["mark"] == "ok"
    secret.unlink()


# -- port and hub


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_port_that_is_taken_is_told_with_who_has_it(taken: int, capsys: Capture) -> None:
    file = topology(f"hub: {{listen: '127.0.0.1:{taken}'}}\n")
    assert wrong(capsys, file)["port"].startswith(f"127.0.0.1:{taken} is used by process {os.getpid()} (")


def test_a_port_that_this_topology_has_is_its_own(taken: int, capsys: Capture) -> None:
    file = topology(f"hub: {{listen: '127.0.0.1:{taken}'}}\n")
    with registered(Path(file), ["boss"], os.environ) as seat:
        seat.tell_hub(f"ws://127.0.0.1:{taken}")
        found = findings(capsys, file, code=ExitCode.DONE)
    assert found["port"][0]["sentence"] == f"127.0.0.1:{taken} is that of this topology's run, process {os.getpid()}"


def test_an_address_that_is_not_here_is_told(capsys: Capture) -> None:
    file = topology("hub: {listen: '203.0.113.1:7700', tls: {cert: c.pem, key: c.pem}}\n")
    Path("c.pem").write_bytes(CERTIFICATE.read_bytes())
    Path("c.pem").chmod(0o600)
    assert "203.0.113.1:7700 cannot be listened on" in wrong(capsys, file)["port"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real hub with our key and TLS, on localhost."""
    keys = tmp_path_factory.mktemp("hub") / "keys.yaml"
    keys.touch(mode=0o600)
    keys.write_text(json.dumps({"secret_keys": [{"id": "sk_id_0123456789ab", "secret": SECRET}]}))
    words = ["hub", "serve", "--keys", str(keys), "--listen", "localhost:0", "--tls-cert", str(CERTIFICATE), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words],
        env=plain_environment(PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lasting = Lasting(process)
    try:
        lasting.wait_for("url")
        yield json.loads(lasting.printed[-1])["url"].replace("127.0.0.1", "localhost")
    finally:
        assert lasting.interrupt() == ExitCode.DONE
        keys.unlink()


def test_a_hub_that_lets_us_in_is_told(hub: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    found = findings(capsys, topology(HUB.replace("URL", hub)), code=ExitCode.DONE)
    assert found["hub"][0]["sentence"] == f"{hub} lets us in"
    assert found["hub's clock"][0]["mark"] == "ok"


def test_a_certificate_that_is_not_trusted_is_told(hub: str, capsys: Capture) -> None:
    assert "its certificate is not trusted: self" in wrong(capsys, topology(HUB.replace("URL", hub)))["hub"]


def test_a_hub_that_does_not_know_the_key_is_told(hub: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    monkeypatch.setenv("HUB_KEY", KEY.replace("ab:", "cd:"))
    assert wrong(capsys, topology(HUB.replace("URL", hub)))["hub"] == f"{hub} refuses a token of this key with 4001"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Serve one connection: say something when something is heard; nothing = say nothing, and stay."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        left = threading.Event()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)
                if not answer:
                    left.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        left.set()
        thread.join(20)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"220 mail.example.org ESMTP\r\n", "answers, but not as a hub does: what it says is no HTTP"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers, but not as a hub does: server rejected"),
        (b"", "cannot be reached: nothing is heard for 1 s"),
    ],
)
def test_what_is_no_hub_is_told(answer: bytes, says: str, capsys: Capture) -> None:
    with answering(answer) as url:
        assert says in wrong(capsys, topology(HUB.replace("URL", url)))["hub"]


def test_a_hub_that_is_not_there_is_told(capsys: Capture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{closed.getsockname()[1]}"
        assert wrong(capsys, topology(HUB.replace("URL", url)))["hub"].startswith(f"{url} cannot be reached: ")


# -- store and broker


def test_a_store_is_looked_through(folder: Path, capsys: Capture) -> None:
    file = topology(store="sqlite:///tasks.db")
    assert "can be made" in findings(capsys, file, code=ExitCode.DONE)["store"][0]["sentence"]
    assert not Path("tasks.db").exists()
    fill(Path("tasks.db"), each_state)
    assert "is sound" in findings(capsys, file, code=ExitCode.DONE)["store"][0]["sentence"]
    content = bytearray(Path("tasks.db").read_bytes())
    content[4_096:12_000] = os.urandom(12_000 - 4_096)
    Path("tasks.db").write_bytes(content)
    assert "is damaged" in wrong(capsys, file)["store"]


def test_a_file_of_another_program_is_told(capsys: Capture) -> None:
    with sqlite3.connect("tasks.db") as connection:
        connection.execute("CREATE TABLE books (title)")
    connection.close()
    assert "is some other program's" in wrong(capsys, topology(store="sqlite:///tasks.db"))["store"]


def test_a_folder_that_nobody_can_write_is_told(capsys: Capture) -> None:
    assert "its folder cannot be written" in wrong(capsys, topology(store="sqlite:////proc/tasks.db"))["store"]


def test_a_disk_without_room_is_told(folder: Path) -> None:
    command = namespace()
    if not command:
        pytest.skip("this machine lets nobody here mount a small file system (unshare --mount)")
    file = topology(store="sqlite:///small/tasks.db")
    (folder / "small").mkdir()
    script = (
        "mount -t tmpfs -o size=64k none small && { head -c 100000 /dev/zero > small/full 2>/dev/null || true; } && "
        f"exec {sys.executable} -m orchestrator doctor {file} --json"
    )
    done = subprocess.run(
        [*command, "sh", "-c", script], env=plain_environment(), capture_output=True, text=True, check=False, timeout=60
    )
    [store] = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "store"]
    assert (done.returncode, store["mark"]) == (ExitCode.FAILED, "wrong")
    assert store["sentence"].endswith("its disk is full")


@pytest.mark.parametrize("scheme", ["nats", "redis"])
def test_a_broker_that_is_not_there_is_told_without_its_password(
    scheme: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}://joe:hunter2@127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("BROKER", address)
        file = topology(
            'hub: {listen: "127.0.0.1:7711", key: "${HUB_KEY}", backplane: "${BROKER}/farm"}\n', "${BROKER}"
        )
        told = wrong(capsys, file)
    assert {"store", "backplane"} <= told.keys()
    assert "hunter2" not in json.dumps(told)


# -- what dead runs leave


def test_what_a_killed_run_has_left_is_told_and_stays(capsys: Capture) -> None:
    file = topology()
    program = (
        "import sys, os; from pathlib import Path; from orchestrator.runtime.run_seat import registered\n"
        f"with registered(Path('{file}'), ['boss'], os.environ): print('there', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(2):
        assert "a run that was killed has left sockets" in wrong(capsys, file)["dead runs"]
    assert main(["ps", file]) == ExitCode.FAILED
    capsys.readouterr()
    assert findings(capsys, file, code=ExitCode.DONE)["dead runs"][0]["mark"] == "ok"
