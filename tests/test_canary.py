"""The search for secrets over the whole suite can fail: a small suite that leaks in every way is caught in each of them."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.canary import CANARY, CHUNK, LONGEST, Ear, Folders, found, found_in_text, masked

ROOT = Path(__file__).parents[1]
KEY = f"sk_secret_{secrets.token_urlsafe(40)}"
TOKEN = ".".join(("eyJ" + "h" * 20, "eyJ" + "p" * 60, "s" * 43))
LEAKS = """\
import asyncio, logging, os, subprocess, sys
from pathlib import Path
import pytest

KEY = "sk_secret_" + "k" * 40
TOKEN = ".".join(("eyJ" + "h" * 20, "eyJ" + "p" * 60, "s" * 43))
SAYS = "import sys; print('sk_secret_' + 'k' * 40, file=sys.{})"
SLOWLY = "import sys, time\\nfor part in ('sk_sec', 'ret_' + 'k' * 20, 'k' * 20): print(part, end='', flush=True); time.sleep(0.1)"

def test_print(): print("the key is", KEY)
def test_error_output(): print(f"?token={TOKEN}&more", file=sys.stderr)
def test_descriptor(): os.write(2, TOKEN.encode())
def test_log(): logging.getLogger("any").warning("with %s", TOKEN)
def test_exception(): raise RuntimeError(KEY)
def test_comparison(): assert KEY == "another"
def test_skip(): pytest.skip(KEY)
def test_read_back(capsys):
    print(KEY)
    assert capsys.readouterr().out
def test_process():
    subprocess.run([sys.executable, "-c", SAYS.format("stderr")], capture_output=True, check=True)
def test_process_in_text():
    subprocess.run([sys.executable, "-c", SAYS.format("stdout")], capture_output=True, text=True, check=True)
def test_process_of_a_loop():
    async def ran():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", SLOWLY, stdout=subprocess.PIPE)
        await process.communicate()
    asyncio.run(ran())
def test_file(tmp_path): (tmp_path / "log").write_text("and " + KEY)
def test_file_in_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "log").write_bytes(b"x" * 1_048_570 + TOKEN.encode())
@pytest.fixture
def talkative():
    print("before", KEY)
    yield
@pytest.fixture
def loquacious():
    yield
    print("after", KEY)
def test_setup(talkative): pass
def test_teardown(loquacious): pass
"""
HARMLESS = """\
import os
import pytest
KEY = "sk_secret_" + "k" * 40

def test_short(): print("sk_secret_short", "eyJhbGciOiJIUzI1NiJ9.eyJ")
def test_failing(): assert 1 == 2
def test_private_file(tmp_path):
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text(KEY)
@pytest.mark.shows_secrets("on purpose")
def test_on_purpose(tmp_path, capsys):
    (tmp_path / "key").write_text(KEY)
    print(KEY)
    assert capsys.readouterr().out
    print("and once more", KEY)
def test_last(): pass
"""
LEFT = """\
import pytest
@pytest.fixture(scope="module")
def folder(tmp_path_factory): return tmp_path_factory.mktemp("shared")
def test_first(folder): (folder / "log").write_text("sk_secret_" + "k" * 40)
def test_last(folder): pass
"""
LEAVES = pytest.mark.shows_secrets("the small suite leaves what it leaks in files of this test")
UNEXPLAINED = "import pytest\n@pytest.mark.shows_secrets\ndef test_any(): pass\n"


def suite(folder: Path, source: str, *options: str) -> tuple[dict[str, str], str]:
    """Run a suite of one file under our plugin; return the outcome of each test that has one, and all that was said."""
    (folder / "test_small.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    words = ["-m", "pytest", "-p", "tests.conftest", "-q", "-rA", "-p", "no:cacheprovider", "--color=no", *options]
    done = subprocess.run(
        [sys.executable, "-P", *words, "--basetemp", str(folder / "temporary"), "test_small.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    outcomes: dict[str, str] = {}
    for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) test_small\.py::test_(\w+)", said, re.MULTILINE):
        outcomes[name] = outcome if outcomes.get(name, "PASSED") == "PASSED" else outcomes[name]
    return outcomes, said


@LEAVES
def test_45_every_way_of_leaking_fails_its_test_and_is_not_repeated(tmp_path: Path) -> None:
    outcomes, said = suite(tmp_path, LEAKS, "-n2")
    names = re.findall(r"^def test_(\w+)", LEAKS, re.MULTILINE)
    assert [name for name in names if outcomes.get(name) not in ("FAILED", "ERROR")] == []
    assert len(names) == 15
    assert found_in_text(said, "what the small suite said") == []
    assert "the secret of a key is in Captured stdout call: 'the key is ***'" in said
    assert "a signed token is in Captured stderr call: '?token=***&more'" in said
    assert "the secret of a key is in what a process printed: '***'" in said


@LEAVES
def test_what_is_short_private_or_said_to_be_shown_on_purpose_is_left_alone(tmp_path: Path) -> None:
    outcomes, _ = suite(tmp_path, HARMLESS, "-n0")
    expected = {"short": "PASSED", "failing": "FAILED", "private_file": "PASSED", "on_purpose": "PASSED"}
    assert outcomes == {**expected, "last": "PASSED"}


@LEAVES
def test_what_a_module_leaves_fails_the_last_test_of_all(tmp_path: Path) -> None:
    outcomes, said = suite(tmp_path, LEFT, "-n0")
    assert outcomes == {"first": "PASSED", "last": "ERROR"}
    assert "temporary/shared0/log, whose mode is 0644" in said


def test_a_mark_without_a_reason_is_refused(tmp_path: Path) -> None:
    outcomes, said = suite(tmp_path, UNEXPLAINED, "-n0")
    assert outcomes == {}
    assert 'test_small.py::test_any: say why: @pytest.mark.shows_secrets("…")' in said


@given(st.binary(max_size=60), st.sampled_from([KEY, TOKEN, CANARY]), st.binary(max_size=60))
def test_a_secret_is_found_between_anything_and_its_line_is_shown_without_it(
    before: bytes, secret: str, after: bytes
) -> None:
    findings = found(before + b" " + secret.encode() + b" " + after, "somewhere")
    assert findings
    assert not any(secret in str(finding) for finding in findings)


@given(st.sampled_from([KEY, TOKEN, CANARY]), st.lists(st.integers(0, 200), max_size=5), st.integers(0, LONGEST))
def test_a_secret_is_heard_however_a_stream_is_cut(secret: str, cuts: list[int], before: int) -> None:
    data = b"x" * before + b" " + secret.encode() + b"\n"
    places = [0, *sorted(min(before + cut, len(data)) for cut in cuts), len(data)]
    ear = Ear("a stream")
    heard = [finding for start, end in pairwise(places) for finding in ear.hear(data[start:end])]
    assert heard


@given(st.text(max_size=200))
def test_a_text_without_a_secret_stays_what_it_is(text: str) -> None:
    assert found_in_text(text, "somewhere") == []
    assert masked(text) == text


def test_of_a_text_only_the_secrets_are_masked() -> None:
    assert masked(f"key {KEY}, token {TOKEN}; {CANARY}\né") == "key ***, token ***; ***\né"


def test_a_file_is_read_to_its_end_and_again_when_it_has_changed(tmp_path: Path) -> None:
    file, folders = tmp_path / "file", Folders()
    file.write_bytes(b"x" * (2 * CHUNK) + KEY.encode())
    assert len(folders.found(tmp_path)) == 1
    assert folders.found(tmp_path) == []
    file.write_bytes(b"harmless")
    assert folders.found(tmp_path) == []
    file.write_bytes(TOKEN.encode())
    assert [finding.what for finding in folders.found(tmp_path)] == ["a signed token"]
    file.chmod(0o600)
