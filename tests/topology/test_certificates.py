"""The files under `hub.tls`, looked at before anything starts: by what they hold, and relative to the file that names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.topology.certificates import check_certificates
from orchestrator.topology.load import load_topology

CERT = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
TEXT = "version: 1\nhub:\n  tls: {cert: hub.pem, key: hub.key}\nagents:\n  a: {handler: app:A}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.yaml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def faults(name: str = "t.yaml") -> list[str]:
    return [str(problem) for problem in check_certificates(load_topology(Path(name), {}))]


def write(cert: str, key: str) -> None:
    Path("hub.pem").write_text(cert, encoding="utf-8")
    Path("hub.key").write_text(key, encoding="utf-8")


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_a_certificate_and_its_key_are_found_in_pem(home: Path, kind: str) -> None:
    write("what it is for\r\n" + CERT * 2, KEY.replace("PRIVATE KEY", kind))
    assert faults() == []


def test_files_that_are_not_there_are_told_with_the_nearest(home: Path) -> None:
    Path("hub.pen").write_text(CERT, encoding="utf-8")
    assert faults() == [
        "t.yaml:3:15: hub.tls.cert: there is no file 'hub.pem' (did you mean 'hub.pen'?)",
        "t.yaml:3:29: hub.tls.key: there is no file 'hub.key' (did you mean 'hub.pen'?)",
    ]


def test_files_that_are_confused_are_told(home: Path) -> None:
    write(KEY, CERT)
    assert faults() == [
        "t.yaml:3:15: hub.tls.cert: the file 'hub.pem' holds no certificate in PEM, which begins '-----BEGIN'; it holds a private key",
        "t.yaml:3:29: hub.tls.key: the file 'hub.key' holds no private key in PEM, which begins '-----BEGIN'; it holds a certificate",
    ]


def test_a_file_of_another_format_and_a_directory_are_told(home: Path) -> None:
    Path("hub.pem").write_bytes(b"\x30\x82\x01\x00")
    Path("hub.key").mkdir()
    assert [line.partition("'")[2] for line in faults()] == [
        "hub.pem' holds no certificate in PEM, which begins '-----BEGIN'",
        "hub.key' is no file but a directory",
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_nobody_waits_for_a_pipe(home: Path) -> None:
    write(CERT, KEY)
    Path("hub.key").unlink()
    os.mkfifo("hub.key")
    assert [line.partition("'")[2] for line in faults()] == ["hub.key' is no file but a device"]


def test_a_file_that_cannot_be_read_is_told(home: Path) -> None:
    write(CERT, KEY)
    Path("hub.key").unlink()
    Path("hub.key").symlink_to("hub.key")  # root may read what others may not, and this nobody can
    [told] = faults()
    assert told.startswith("t.yaml:3:29: hub.tls.key: the file 'hub.key' cannot be read: too many levels")


def test_a_path_begins_at_the_file_that_it_stands_in(home: Path) -> None:
    Path("parts").mkdir()
    Path("parts/hub.yaml").write_text("hub:\n  tls: {cert: hub.pem, key: hub.key}\n", encoding="utf-8")
    Path("top.yaml").write_text("version: 1\ninclude: parts/hub.yaml\nagents: {a: {handler: app:A}}\n")
    Path("parts/hub.pem").write_text(CERT)
    assert faults("top.yaml") == [
        "parts/hub.yaml:2:29: hub.tls.key: there is no file 'parts/hub.key' (did you mean 'hub.pem'?)"
    ]
    Path("parts/hub.key").write_text(KEY)
    assert faults("top.yaml") == []


@pytest.mark.parametrize("verb", ["validate", "plan"])
def test_it_is_told_without_the_code_and_along_with_what_a_token_cannot_hold(
    home: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ", ".join(f"c{number}" for number in range(101))
    Path("t.yaml").write_text(
        TEXT
        + f"    scopes: {{publish: [{many}]}}\n".replace("    scopes", "  b: {handler: app:B, scopes").rstrip()
        + "}\n"
    )
    assert main([verb, "--no-import", "t.yaml"]) == ExitCode.INVALID
    told = capsys.readouterr().err
    assert "t.yaml:3:15: hub.tls.cert: there is no file 'hub.pem'" in told
    assert "    3 |   tls: {cert: hub.pem, key: hub.key}" in told
    assert "agents.b: this asks for more than a token can say" in told


def test_no_tls_is_imported_to_look(home: Path) -> None:
    write(CERT, KEY)
    code = "import sys; from orchestrator.cli.main import main; main(['validate', '--no-import', 't.yaml']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"ssl", "socket", "asyncio"} & set(done.stdout.split())
