"""`orchestrator token` and `orchestrator token inspect`."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.protocol.codes import Action
from orchestrator.protocol.token_reading import NoToken, Verdict, judge, open_token
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint, verify

KEY = SecretKey("sk_id_a", f"sk_secret_{'b' * 40}")
PAIR = f"{KEY.id}:{KEY.secret}"
PRINTS = pytest.mark.shows_secrets("a token is what the command is asked for")
TOPOLOGY = """\
version: 1
hub: {key: "${HUB_KEY}", token_ttl: 90s}
coordinators:
  editor: {handler: "n:Editor", workers: [researcher]}
workers:
  researcher: {handler: "n:Researcher"}
agents:
  bell: {external: true}
  bots: {external: true, replicas: 2}
users:
  reader: {asks: [editor], token_ttl: 1h}
  guest: {}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUB_KEY", PAIR)
    path = tmp_path / "news.yaml"
    path.write_text(TOPOLOGY)
    return path


def made(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Claims:
    """Return what a token that was printed says, after the check that a hub makes."""
    assert main(["token", *map(str, words)]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert not printed.err
    _, claims = verify(printed.out.removesuffix("\n"), {KEY.id: KEY}, time.time())
    return claims


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Return the sentence with which a command line is refused."""
    try:
        code = main(["token", *map(str, words)])
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capsys.readouterr()
    assert (code, printed.out) == (ExitCode.USAGE, "")
    return printed.err.splitlines()[-1].partition(": ")[2]


# -- making one


@PRINTS
def test_a_users_token_is_alone_on_stdout_and_says_what_the_plan_says(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = made(capsys, file, "reader", "--sub", "alice")
    assert claims.sub == "reader/alice"
    assert claims.peer_metadata == {"kind": "user", "user": "reader", "name": "alice"}
    assert claims.grants == Grants(send=("editor",))
    assert claims.instance is None
    assert 3590 < claims.exp - time.time() <= 3600


@PRINTS
def test_a_shorter_life_can_be_asked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, seconds in (("90s", 90), ("2m", 120), ("60", 60)):
        claims = made(capsys, file, "reader", "--sub", "alice", "--ttl", text)
        assert seconds - 10 < claims.exp - time.time() <= seconds


@PRINTS
def test_an_external_agent_gets_its_peer_id_and_an_instance(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bell = made(capsys, file, "bell")
    assert (bell.sub, bell.rate) == ("bell", "unlimited")
    assert 80 < bell.exp - time.time() <= 90
    assert bell.instance not in (None, made(capsys, file, "bell").instance)
    bot = made(capsys, file, "bots", "--replica", "2", "--instance", "night-run", "--ttl", "24h")
    assert (bot.sub, bot.instance) == ("bots.2", "night-run")
    assert bot.exp - time.time() > 86_390


@PRINTS
def test_the_built_in_user_can_be_had_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made(capsys, file, "cli", "--sub", "me").sub == "cli/me"


@PRINTS
def test_programs_get_the_token_with_its_times(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", str(file), "reader", "--sub", "alice", "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    _, claims = verify(found["token"], {KEY.id: KEY}, time.time())
    assert (found["peerId"], found["expiresAt"]) == (claims.sub, claims.exp)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("reder --sub x", "there is no user or external agent 'reder' (did you mean 'reader'?)"),
        ("reader", "'reader' is a kind of user; say who it is for: --sub alice"),
        ("reader --sub a/b", "--sub: a user's name has 1 to 121 printable ASCII characters and no '/', unlike 'a/b'"),
        ("reader --sub x --ttl 2h", "--ttl 2h is too long: a token of 'reader' lives at most 1h; 'token_ttl' at"),
        ("reader --sub x --ttl 25h", "argument --ttl: a token lives between 1s and 24h"),
        ("reader --sub x --ttl 2x", "argument --ttl: '2x' is no time such as 90s, 15m or 2h"),
        ("reader --sub x --replica 1", "--replica is for agents, and 'reader' is a kind of user"),
        ("editor", "'editor' is started by `orchestrator run`, which gives each of its processes a token of its own"),
        ("bell --sub x", "--sub is for users, and 'bell' is an agent: its peer ids are the topology's"),
        ("bell --replica 1", "'bell' has no replicas; leave --replica out"),
        ("bots", "'bots' has 2 replicas; say which with --replica 1 to 2"),
        ("bots --replica 3", "'bots' has 2 replicas; say which with --replica 1 to 2"),
        ("bell --instance=", "--instance has 1 to 128 characters"),
        ("bell --key-file k", "--key-file is for inspecting a token; one is made with the file's hub.key"),
        ("", "name a user or agent of the topology"),
    ],
)
def test_what_cannot_be_made_is_a_sentence(
    file: Path, capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    assert sentence in refused(capsys, file, *words.split())


def test_a_local_hub_without_a_key_must_be_asked_while_it_runs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY.replace('key: "${HUB_KEY}", ', ""))
    sentence = refused(capsys, file, "reader", "--sub", "alice")
    assert "a token of such a hub must be asked for while it runs" in sentence
    assert "'hub: {key: \"${HUB_KEY}\"}'" in sentence


def test_a_file_with_mistakes_is_told_as_ever(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY.replace("asks: [editor]", "asks: [editr]"))
    assert main(["token", str(file), "reader", "--sub", "alice"]) == ExitCode.INVALID
    assert "did you mean 'editor'?" in capsys.readouterr().err


# -- looking into one


def given(monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    """Put something on the standard input."""
    raw = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def token(life: float = 3600, key: SecretKey = KEY, **more: Any) -> str:
    more = {"channels": ("news/*",), "permissions": frozenset({Action.PUBLISH, Action.SUBSCRIBE}), **more}
    return mint(key, Claims(sub="reader/alice", exp=int(time.time() + life), **more))


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_KEY", raising=False)


@pytest.mark.usefixtures("no_key")
def test_a_token_is_shown_with_its_dates_and_what_it_allows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, token(grants=Grants(publish=("news/*",))) + "\n")
    assert main(["token", "inspect"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the signature was not verified: give --key-file, or set HUB_KEY"
    assert lines[1:7] == ["header", "  alg           HS256", "  kid           sk_id_a", "  typ           JWT", "claims", "  sub           reader/alice"]  # fmt: skip
    assert " UTC, in 1h)" in lines[7] or " UTC, in 59m" in lines[7]
    assert lines[11:] == [
        "it lets reader/alice",
        "  publish       news/*",
        "  a service that knows no grants also lets it",
        "    subscribe to      news/*",
    ]


@pytest.mark.usefixtures("no_key")
def test_a_token_without_grants_is_told_as_flat_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, token())
    assert main(["token", "inspect", "-"]) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "it lets reader/alice publish subscribe",
        "  on channels   news/*",
    ]


@pytest.mark.usefixtures("no_key")
def test_a_token_is_read_from_a_file_and_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = token(-3600, metadata={"filler": "x" * 8000})
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(text + "\n")
    for word in (text, str(path)):
        assert main(["token", "inspect", word]) == ExitCode.DONE
        assert re.search(r", expired 1h(\dm)?(\d+s)? ago\)", capsys.readouterr().out)  # it may take its time


def test_a_token_is_verified_with_the_key_of_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, token())
    assert main(["token", "inspect", "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["verified"], found["verdict"]) == (True, "genuine: signed with sk_id_a")
    assert (found["expired"], found["well_formed"]) == (False, True)
    assert found["claims"]["sub"] == "reader/alice"


@pytest.mark.shows_secrets("`hub keys new` prints the key that it makes")
def test_a_key_file_is_that_of_a_hub_or_holds_a_pair_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, pair = tmp_path / "keys.yaml", tmp_path / "pair"
    assert main(["keys", "new", "--keys", str(keys)]) == ExitCode.DONE
    pair.write_text(capsys.readouterr().out)
    text = token(key=SecretKey.parse(pair.read_text().strip()))
    for path in (keys, pair):
        given(monkeypatch, text)
        assert main(["token", "inspect", "--key-file", str(path)]) == ExitCode.DONE
        assert capsys.readouterr().out.startswith("genuine: signed with sk_id_")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (token(-1), "genuine, signed with sk_id_a, but its time is over: a hub closes with 4002"),
        (token(key=SecretKey("sk_id_b", "x" * 40)), "refused: the key it says it is signed with, 'sk_id_b'"),
        (token(key=SecretKey("sk_id_a", "x" * 40)), "refused: the signature, the header, the times or a claim"),
        (token(90_000), "refused: the signature, the header, the times or a claim"),
    ],
    ids=["expired", "another key id", "another secret", "too long a life"],
)
def test_a_token_that_a_hub_would_refuse_fails_with_the_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    given(monkeypatch, text)
    assert main(["token", "inspect"]) == ExitCode.FAILED
    assert capsys.readouterr().out.startswith(sentence)


def test_a_channel_outside_the_key_is_told() -> None:
    narrow = SecretKey(KEY.id, KEY.secret, channels=("other/*",))
    verdict = judge(open_token(token(channels=("news/a",))), {KEY.id: narrow}, time.time())
    assert verdict == Verdict(
        False, "genuine, but it names a channel that the key sk_id_a does not reach: a hub closes with 4003"
    )


@pytest.mark.parametrize("text", ["", "hello", "a.b", "a.b.c", "e30.W10.", "!.!.!", "e30.e30\n.x", "é.é.é"])
def test_what_is_no_token_is_answered_without_being_repeated(text: str) -> None:
    with pytest.raises(NoToken) as caught:
        open_token(text)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.usefixtures("no_key")
def test_claims_that_no_hub_takes_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given(monkeypatch, mint(KEY, Claims(sub="a\x1b[31m", exp=10**18)))
    assert main(["token", "inspect"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "no hub takes these claims: one is missing, too large, or of a wrong type"
    assert "\x1b" not in out
    assert "(no date there is)" in out


@pytest.mark.usefixtures("no_key")
def test_bytes_that_are_no_text_are_no_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, b"\xff\xfe.\x80.x")
    assert main(["token", "inspect"]) == ExitCode.FAILED
    assert capsys.readouterr().err.startswith("orchestrator: this is no token: ")


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "inspect", "no-such-token"]) == ExitCode.FAILED
    assert capsys.readouterr().err == (
        "orchestrator: no-such-token: the file cannot be read: no such file or directory\n"
    )


@pytest.mark.parametrize("option", ["--sub=x", "--ttl=1h", "--replica=1", "--instance=x"])
def test_options_of_the_other_half_are_refused(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert "is for making a token, not for inspecting one" in refused(capsys, "inspect", "-", option)


def test_a_key_is_in_no_output(tmp_path: Path) -> None:
    """Hazard 45: neither a token that is refused, nor a key that is none, is repeated."""
    for key in ("sk_id_x:sk_canary", f"sk_id_x:sk_secret_{'canary' * 8}"):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "token", "inspect"],
            input=token(),
            env={**os.environ, "HUB_KEY": key},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == ExitCode.FAILED
        assert "canary" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
