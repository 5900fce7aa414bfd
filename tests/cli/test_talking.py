"""`ask`, `send`, `publish`, `dispatch`, `who` and `chat` on a run that is alive."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.entering import enter
from orchestrator.cli.main import main
from orchestrator.cli.running import find
from orchestrator.errors import ExitCode
from tests.cli.talking import KEY, Talked, talked
from tests.runtime.operated import until

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole() -> Iterator[Talked]:
    with talked() as run:
        yield run


@pytest.fixture(autouse=True)
def run(whole: Talked, monkeypatch: pytest.MonkeyPatch) -> Talked:
    monkeypatch.chdir(whole.folder)
    return whole


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


# -- ask


def test_the_answer_is_on_stdout_and_the_rest_on_stderr(capsys: Capture) -> None:
    assert main(["ask", "teller", "hello there"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert out == "You said: hello there \n"
    assert err.startswith("orchestrator: teller answered in 3 chunks over ")


@pytest.mark.parametrize("words", [["talk.yaml", "teller", "hi"], ["./talk.yaml", "teller", "hi"]])
def test_the_file_may_be_named(words: list[str], capsys: Capture) -> None:
    assert main(["ask", *words]) == ExitCode.DONE
    assert capsys.readouterr().out == "You said: hi \n"


def test_json_has_a_line_for_each_chunk_and_one_for_the_end(capsys: Capture) -> None:
    assert main(["ask", "--json", "teller", "hi"]) == ExitCode.DONE
    *chunks, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert chunks == [{"chunk": "You said: ", "seq": 0}, {"chunk": "hi ", "seq": 1}]
    assert (last["outcome"], last["agent"], last["chunks"]) == ("done", "teller", 2)


@pytest.mark.parametrize("words", [["teller", "-"], ["teller", "--json", "-"]])
def test_the_question_may_come_by_stdin(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    types(monkeypatch, "from a/pipe\n")
    assert main(["ask", *words]) == ExitCode.DONE
    assert "a/pipe" in capsys.readouterr().out


def test_the_nearest_agent_is_offered(capsys: Capture) -> None:
    assert main(["ask", "teler", "hi"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "orchestrator: there is no agent 'teler' here (did you mean 'teller'?)\n"


def test_a_refusal_is_told_by_the_agents_sentence(capsys: Capture) -> None:
    assert main(["ask", "teller", "no", "--json"]) == ExitCode.FAILED
    out, err = capsys.readouterr()
    assert "not today" in err
    assert json.loads(out)["error"]["type"] == "TaskFailed"


def test_an_agent_that_takes_no_words_says_so(capsys: Capture) -> None:
    assert main(["ask", "adder", "hi"]) == ExitCode.FAILED
    assert "this agent takes no questions" in capsys.readouterr().err


def test_a_question_is_traced_where_the_environment_says_so(run: Talked) -> None:
    with run.start("ask", "teller", "hi", OTEL_TRACES_EXPORTER="console") as asking:
        out, err = asking.communicate(timeout=20)
    assert out == "You said: hi \n"
    (span,) = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert span["name"] == "ask teller"
    assert span["resource"]["attributes"]["service.name"] == "cli"


def test_unquoted_words_are_told(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ask", "teller", "one", "two"])
    assert ended.value.code == ExitCode.USAGE
    assert "stands in quotes" in capsys.readouterr().err


def test_a_question_that_takes_too_long_is_cancelled_at_the_agent(run: Talked, capsys: Capture) -> None:
    assert main(["ask", "teller", "forever-late", "--timeout", "0.2"]) == ExitCode.TIMED_OUT
    assert "had not answered within 0.2 s" in capsys.readouterr().err
    until((run.folder / "forever-late").exists)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_cancels_the_question_at_the_agent(run: Talked, number: signal.Signals, code: ExitCode) -> None:
    with run.start("ask", "teller", f"forever-{number}", "--json") as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        asking.send_signal(number)
        out, err = asking.communicate(timeout=20)
    assert asking.returncode == code
    assert err == ""
    assert json.loads(out.splitlines()[-1])["outcome"] == "cancelled"
    until((run.folder / f"forever-{number}").exists)


def test_a_reader_that_leaves_ends_it_quietly(run: Talked) -> None:
    with run.start("ask", "teller", "forever-pipe") as asking:
        assert asking.stdout is not None
        assert asking.stderr is not None
        asking.stdout.read(20)
        asking.stdout.close()
        assert asking.stderr.read() == ""
        assert asking.wait(20) == ExitCode.FAILED
    until((run.folder / "forever-pipe").exists)


# -- send and publish


def test_a_message_is_sent_or_nobody_is_there(capsys: Capture) -> None:
    assert main(["send", "adder.1", '{"a": 1}']) == ExitCode.DONE
    assert main(["send", "adder.2", '"x"', "--json"]) == ExitCode.DONE
    assert main(["send", "adder.7", "1"]) == ExitCode.PEER_NOT_FOUND
    assert main(["send", "tellr", "1"]) == ExitCode.PEER_NOT_FOUND
    out, err = capsys.readouterr()
    assert out == 'sent to adder.1\n{"sent": true, "to": "adder.2"}\n'
    assert "nobody is connected as 'adder.7' (did you mean 'adder." in err
    assert "nobody is connected as 'tellr' (did you mean 'teller'?)" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["send", "", "1"], "a peer id has 1 to 128 characters"),
        (["send", "\udcff", "1"], "half a surrogate pair"),
        (["send", "adder.1", "1e999"], "1e999 is more than a number of JSON can be"),
        (["send", "adder.1", '"\\ud800"'], "half a surrogate pair"),
        (["send", "adder.1", "9" * 5_000], "a number in it has too many digits"),
        (["publish", "a\x1bb", "1"], "a channel name has 1 to 256 bytes and no control characters"),
        (["publish", "a" * 5_000, "1"], "a channel name has 1 to 256 bytes"),
        (["who", "a/**"], "'a/**' is a pattern"),
        (["who", "x/" + "a" * 5_000], "a channel name has 1 to 256 bytes"),
        (["ask", "teller", "\udcff"], "half a surrogate pair"),
    ],
)
def test_what_no_message_can_hold_is_a_matter_of_usage(words: list[str], said: str, capsys: Capture) -> None:
    assert main(words) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_publish_prints_who_got_it(capsys: Capture) -> None:
    assert main(["publish", "lobbies/hall", '{"text": "tea"}']) == ExitCode.DONE
    assert main(["publish", "nobody/listens", "[]", "--json"]) == ExitCode.DONE
    assert capsys.readouterr().out == '3 receivers\n{"channel": "nobody/listens", "receivers": 0}\n'


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ('{"a": }', "the message, line 1, column 7: expecting value"),
        ("hello", "the message, line 1, column 1: expecting value; a text stands in double quotes"),
        ("", "the message is empty"),
        ("[NaN]", "the message: NaN is no JSON"),
        ("[" * 100_000, "the message is nested too deeply"),
        ("\udcff", "the message"),
    ],
)
def test_bad_json_is_told_with_its_place(word: str, sentence: str, capsys: Capture) -> None:
    assert main(["send", "teller", word]) == ExitCode.USAGE
    assert sentence in capsys.readouterr().err


def test_missing_words_are_told(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["publish", "lobbies/hall"])
    assert ended.value.code == ExitCode.USAGE
    assert "it takes CHANNEL JSON" in capsys.readouterr().err


# -- dispatch


def test_a_task_is_done_and_its_reply_printed(capsys: Capture) -> None:
    assert main(["dispatch", "adder", "Add", '{"numbers": [1, 2]}', "--wait"]) == ExitCode.DONE
    assert main(["dispatch", "adder.2", "Count", '{"upto": 3}', "--wait"]) == ExitCode.DONE
    assert capsys.readouterr().out == "3\n0\n1\n2\n"


def test_without_wait_it_ends_when_a_worker_has_taken_it(capsys: Capture) -> None:
    assert main(["dispatch", "adder", "Add", '{"numbers": [1]}']) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert len(out.split()) == 1
    assert err.startswith("orchestrator: adder.")


def test_wrong_tasks_and_payloads_are_told(capsys: Capture) -> None:
    assert main(["dispatch", "adder", "Ad", "{}"]) == ExitCode.USAGE
    assert main(["dispatch", "addr", "Add", "{}"]) == ExitCode.USAGE
    assert main(["dispatch", "adder", "Add", '{"numbers": "many"}', "--wait"]) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert "'adder' takes no task 'Ad' (did you mean 'Add'?)" in err
    assert "there is no agent 'addr' here (did you mean 'adder'?)" in err
    assert "InvalidMessage: Add: numbers: Input should be a valid array" in err


def test_a_task_that_is_kept_goes_into_the_store(run: Talked, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("KEY", KEY)
    assert main(["dispatch", "keeper", "Keep", '{"word": "alpha"}']) == ExitCode.DONE
    task_id = capsys.readouterr().out.strip()
    until((run.folder / "alpha").exists)
    assert main(["tasks", "show", "talk.yaml", task_id, "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["type"] == "Keep"
    assert main(["dispatch", "keeper", "Keep", '{"word": "beta"}', "--wait"]) == ExitCode.DONE
    assert capsys.readouterr().out == '"BETA"\n'


def test_a_kept_task_that_fails_is_told(capsys: Capture) -> None:
    words = ["dispatch", "keeper", "Keep", '{"word": "no"}', "--wait", "--timeout", "20"]
    assert main(words) == ExitCode.FAILED
    assert "Declined: not this word" in capsys.readouterr().err


# -- who


def test_who_shows_everybody_by_lobby(capsys: Capture) -> None:
    assert main(["who"]) == ExitCode.DONE
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["LOBBY", "AGENT", "PEER"],
        ["hall", "adder", "adder.1"],
        ["hall", "adder", "adder.2"],
        ["hall", "teller", "teller"],
        ["-", "keeper", "keeper"],
    ]


def test_who_prints_json_and_takes_lobbies_by_name_or_channel(capsys: Capture) -> None:
    for name in ("hall", "lobbies/hall"):
        assert main(["who", "talk.yaml", name, "--json"]) == ExitCode.DONE
        first, *_ = map(json.loads, capsys.readouterr().out.splitlines())
        assert (first["peer"], first["capabilities"]) == ("adder.1", ["sums"])
    assert main(["who", "hal"]) == ExitCode.USAGE
    assert "there is no lobby 'hal' here (did you mean 'hall'?)" in capsys.readouterr().err


def test_who_watches_until_it_is_interrupted(run: Talked, capsys: Capture) -> None:
    with run.start("who", "--watch", "--json") as watching:
        assert watching.stdout is not None
        present = [json.loads(watching.stdout.readline()) for _ in range(4)]
        assert {each["event"] for each in present} == {"present"}
        assert main(["restart", "adder.2"]) == ExitCode.DONE
        left, joined = (json.loads(watching.stdout.readline()) for _ in range(2))
        watching.send_signal(signal.SIGINT)
        assert watching.communicate(timeout=20) == ("", "")
    assert (left["event"], left["peer"], left["reason"]) == ("left", "adder.2", "left")
    assert (joined["event"], joined["peer"]) == ("joined", "adder.2")
    assert watching.returncode == ExitCode.DONE
    capsys.readouterr()


# -- other ways in


@pytest.fixture
def hub(run: Talked) -> tuple[str, str]:
    [seat] = find(run.folder / "talk.yaml")
    entry = enter(seat, "outside", "first")
    return entry.url, entry.token


def test_a_token_comes_from_a_file_or_stdin_or_the_environment(
    hub: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    url, token = hub
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(token + "\n")
    assert main(["ask", "teller", "file", "--hub", url, "--token-file", str(tmp_path / "token")]) == ExitCode.DONE
    types(monkeypatch, token)
    assert main(["ask", "teller", "stdin", "--hub", url, "--token-file", "-"]) == ExitCode.DONE
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", token)
    assert main(["ask", "teller", "environment", "--hub", url]) == ExitCode.DONE
    assert main(["who", "lobbies/hall", "--hub", url, "--json"]) == ExitCode.DONE
    said = capsys.readouterr()
    assert all(word in said.out for word in ("file", "stdin", "environment", "adder.1"))
    assert token not in said.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--hub", "ws://127.0.0.1:1"], ExitCode.USAGE, "ORCHESTRATOR_TOKEN"),
        (["--token-file", "x"], ExitCode.USAGE, "--token-file goes with --hub"),
        (["--hub", "ws://127.0.0.1:1", "--token-file", "absent"], ExitCode.USAGE, "no such file"),
        (["--hub", "http://x", "--token-file", "app.py"], ExitCode.USAGE, "there is no token in app.py"),
        (["--hub", "http://x", "--token-file", "word"], ExitCode.USAGE, "the scheme is wss"),
        (["--hub", "ws://127.0.0.1:1", "--token-file", "word"], ExitCode.UNREACHABLE, "could not be reached"),
    ],
)
def test_ways_that_lead_nowhere_are_told(words: list[str], code: ExitCode, sentence: str, capsys: Capture) -> None:
    Path("word").write_text("a.b.c")
    assert main(["ask", "teller", "hi", *words]) == code
    assert sentence in capsys.readouterr().err


def test_a_token_that_the_hub_refuses_ends_it_for_good(hub: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "token").write_text("a.b.c")
    words = ["send", "teller", "1", "--hub", hub[0], "--token-file", str(tmp_path / "token")]
    assert main(words) == ExitCode.TERMINAL
    assert "4001" in capsys.readouterr().err


def test_tokens_are_made_with_the_key_of_a_file_whose_hub_is_elsewhere(
    hub: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("KEY", KEY)
    text = Path("talk.yaml").read_text()
    (tmp_path / "there.yaml").write_text(text.replace("hub: {", f"hub: {{url: '{hub[0]}', "))
    assert main(["ask", str(tmp_path / "there.yaml"), "teller", "hi"]) == ExitCode.DONE
    assert capsys.readouterr().out == "You said: hi \n"
    (tmp_path / "talk.yaml").write_text(text)
    assert main(["who", str(tmp_path / "talk.yaml")]) == ExitCode.FAILED
    assert "nothing runs of" in capsys.readouterr().err


# -- chat


def test_each_line_of_a_pipe_is_a_question(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    types(monkeypatch, "/agent tellr\n/agent teller\none\n\n/who\n/hlp\nno\n/help\ntwo\n/quit\nthree\n")
    assert main(["chat"]) == ExitCode.FAILED
    out, err = capsys.readouterr()
    assert out == "You said: one \nYou said: two \n"
    assert "did you mean 'teller'" in err
    assert "there is no /hlp (did you mean '/help'?)" in err
    assert "hall   adder   adder.1" in err
    assert "! ask failed at teller (attempt 1): Declined: not today" in err


def test_a_chat_with_nobody_is_told(capsys: Capture) -> None:
    assert main(["chat", "tellr"]) == ExitCode.USAGE
    assert "did you mean 'teller'" in capsys.readouterr().err
    assert sys.stdin is not None


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_signal_ends_a_chat_of_programs(run: Talked, number: signal.Signals, code: ExitCode, asked: bool) -> None:
    with run.start("chat", "teller", typed=True) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        assert chat.stderr is not None
        assert chat.stderr.readline() == "talking with teller; /help says more\n"
        if asked:
            chat.stdin.write(f"forever-chat-{number}\n")
            chat.stdin.flush()
            chat.stdout.read(20)
        chat.send_signal(number)
        chat.stdout.read()
        assert chat.wait(20) == code
        assert chat.stderr.read() == ("cancelled\n" if asked else "")
    if asked:
        until((run.folder / f"forever-chat-{number}").exists)
