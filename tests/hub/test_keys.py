"""Keys and the file that holds them."""

from __future__ import annotations

import json
import math
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from orchestrator.hub import key_file
from orchestrator.hub.key_file import KeyFile, PublishableEntry, SecretEntry, _check_private
from orchestrator.hub.keys import KeyProblem, KeyRing, PublishableKey
from orchestrator.protocol.codes import Action
from orchestrator.protocol.tokens import Rate, SecretKey

SECRET = "sk_secret_" + "s" * 32
PAGE = "pk_live_" + "p" * 24


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_a_secret_of_fewer_than_32_bytes_is_refused_without_being_shown() -> None:
    KeyRing([SecretKey("sk_id_1", "x" * 32)])
    with pytest.raises(KeyProblem) as problem:
        KeyRing([SecretKey("sk_id_1", "tiny-but-secret")])
    assert str(problem.value) == (
        "the secret of 'sk_id_1' has 15 bytes; at least 32 are needed (`orchestrator keys new` makes good ones)"
    )


def test_keys_that_could_be_confused_are_refused() -> None:
    with pytest.raises(KeyProblem, match="twice"):
        KeyRing([SecretKey("sk_id_1", SECRET), SecretKey("sk_id_1", SECRET)])
    with pytest.raises(KeyProblem, match="twice"):
        KeyRing([], [PublishableKey(PAGE), PublishableKey(PAGE)])
    with pytest.raises(KeyProblem, match="51 keys; at most 50"):
        KeyRing(SecretKey(f"sk_id_{n}", SECRET) for n in range(51))


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "https://", "*", "https://a b"])
def test_an_origin_has_a_scheme_and_a_host_and_nothing_more(origin: str) -> None:
    with pytest.raises(KeyProblem, match="is not of the form"):
        KeyRing([], [PublishableKey(PAGE, origins=(origin,))])


def test_no_secret_is_in_any_representation() -> None:
    entry, page = SecretEntry("sk_id_1", SECRET), PublishableEntry("pk_id_1", PAGE)
    ring = KeyFile([entry], [page]).ring()
    for shown in (entry, page, ring, KeyFile([entry], [page]), entry.key(), page.publishable()):
        assert SECRET not in repr(shown)
        assert PAGE not in repr(shown)


@pytest.mark.parametrize("name", ["keys.yaml", "keys.json"])
def test_what_is_written_is_read_back_and_readable_by_its_owner_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with key_file.changed(path) as keys:
        keys.secret_keys.append(SecretEntry("sk_id_1", SECRET, rate="unlimited", channels=["a/*"]))
    with key_file.changed(path) as keys:
        keys.publishable_keys.append(
            PublishableEntry("pk_id_1", PAGE, origins=["https://a.example"], rate=Rate(5, 10), app="shop")
        )
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in tmp_path.iterdir()] == [name]
    ring = key_file.load(path).ring()
    assert ring.secret["sk_id_1"] == SecretKey("sk_id_1", SECRET, channels=("a/*",), rate="unlimited")
    assert ring.publishable[PAGE].rate == Rate(5, 10)
    assert ring.publishable[PAGE].actions == {Action.SUBSCRIBE, Action.PUBLISH, Action.PRESENCE}
    if name == "keys.json":
        json.loads(path.read_text(encoding="utf-8"))


def test_revoked_keys_stay_in_the_file_and_leave_the_ring(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    with key_file.changed(path) as keys:
        keys.secret_keys += [SecretEntry("sk_id_1", SECRET), SecretEntry("sk_id_2", SECRET + "2")]
        keys.secret_keys[0].revoked = True
    assert list(key_file.load(path).ring().secret) == ["sk_id_2"]
    assert len(key_file.load(path).entries()) == 2


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    with key_file.changed(path) as keys:
        keys.secret_keys.append(SecretEntry("sk_id_1", SECRET))
    before = path.read_bytes()
    with pytest.raises(KeyProblem, match="twice"), key_file.changed(path) as keys:
        keys.secret_keys.append(SecretEntry("sk_id_1", SECRET))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", ":1:2: the key file is neither YAML nor JSON"),
        ("a: !!python/object:os.system x", ":1:4: the key file is neither YAML nor JSON"),
        ("suspended_apps: [2024-13-45]", ": the key file is neither YAML nor JSON"),
        ("suspended_apps: [0x_]", ": the key file is neither YAML nor JSON"),
        ('secret_keys: [{id: a, secret: "\\ud800' + "s" * 40 + '"}]', "half a character"),
        ("keys: []", "unknown field `keys`"),
        ("secret_keys: 7", "Expected `array`, got `int` - at `$.secret_keys`"),
        ("secret_keys: [{id: sk_id_1}]", "missing required field `secret` - at `$.secret_keys[0]`"),
        ("secret_keys: [{id: a, secret: short}]", "the secret of 'a' has 5 bytes"),
        ("publishable_keys: [{id: a, key: pk_live_ppppppppppppppppp, actions: [fly]}]", "Invalid enum value 'fly'"),
    ],
)
def test_a_file_that_is_no_key_file_is_refused_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path / "keys.yaml", text)
    with pytest.raises(KeyProblem) as problem:
        key_file.load(path)
    assert str(problem.value).startswith(str(path))
    assert sentence in str(problem.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "keys.yaml", "secret_keys: []")
    path.chmod(0o640)
    with pytest.raises(KeyProblem, match=r"others may read this key file \(mode 640\)"):
        key_file.load(path)


def test_a_missing_file_is_named_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="orchestrator keys new --keys"):
        key_file.load(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    "key",
    [
        SecretKey("sk_id_a", "s" * 40, rate=Rate(-1.0, 5)),
        SecretKey("sk_id_a", "s" * 40, rate=Rate(math.nan, 5)),
        SecretKey("sk_id_a", "s" * 40, rate=Rate(math.inf, 5)),
        SecretKey("sk_id_a", "s" * 40, rate=Rate(5.0, 0)),
        SecretKey("sk_id_a", "s" * 40, max_token_life=0),
        SecretKey("sk_id_a", "s" * 40, max_token_life=-5),
        SecretKey("sk_id_a", "s" * 40, max_token_life=86_401),
    ],
)
def test_limits_that_make_no_sense_are_refused(key: SecretKey) -> None:
    with pytest.raises(KeyProblem, match="'sk_id_a' is"):
        KeyRing([key])


@pytest.mark.parametrize(
    ("mode", "owner", "user", "fine"),
    [
        (0o600, 1000, 1000, True),
        (0o640, 1000, 1000, False),
        (0o440, 0, 1000, True),  # mounted for a service, whose group may read it
        (0o460, 0, 1000, False),
        (0o444, 0, 1000, False),
        (0o440, 1000, 0, False),
    ],
)
def test_a_secret_that_somebody_else_gives_our_group_is_private(mode: int, owner: int, user: int, fine: bool) -> None:
    status = os.stat_result((0o100000 | mode, 0, 0, 1, owner, 1000, 10, 0, 0, 0))
    with nullcontext() if fine else pytest.raises(KeyProblem, match="others may read"):
        _check_private(Path("keys.yaml"), status, user)
