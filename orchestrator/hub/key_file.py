"""The file that holds a hub's keys: readable by its owner alone, replaced in one step, checked when it is read."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import yaml
from msgspec import Struct, field

from orchestrator.hub.keys import PUBLISHABLE_ACTIONS, KeyProblem, KeyRing, PublishableKey
from orchestrator.protocol.codes import ALL_ACTIONS, Action
from orchestrator.protocol.limits import MAX_TOKEN_LIFE
from orchestrator.protocol.tokens import Rate, SecretKey

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SIZE: Final = 1_048_576


class SecretEntry(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One pair as the file holds it."""

    id: str
    secret: str
    app: str = "default"
    channels: list[str] = field(default_factory=lambda: ["**"])
    actions: list[Action] = field(default_factory=lambda: sorted(ALL_ACTIONS))
    rate: Rate | Literal["unlimited"] | None = None
    max_token_life: int = MAX_TOKEN_LIFE
    revoked: bool = False

    def __repr__(self) -> str:
        return f"SecretEntry({self.id!r})"

    def key(self) -> SecretKey:
        return SecretKey(
            self.id,
            self.secret,
            self.app,
            tuple(self.channels),
            frozenset(self.actions),
            self.max_token_life,
            self.rate,
        )


class PublishableEntry(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One publishable key as the file holds it; its id names it where the key itself must not be shown."""

    id: str
    key: str
    app: str = "default"
    channels: list[str] = field(default_factory=lambda: ["**"])
    actions: list[Action] = field(default_factory=lambda: sorted(PUBLISHABLE_ACTIONS))
    origins: list[str] = field(default_factory=list)
    rate: Rate | Literal["unlimited"] | None = None
    revoked: bool = False

    def __repr__(self) -> str:
        return f"PublishableEntry({self.id!r})"

    def publishable(self) -> PublishableKey:
        return PublishableKey(
            self.key,
            self.app,
            tuple(self.channels),
            frozenset(self.actions),
            tuple(self.origins),
            self.rate,
        )


class KeyFile(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Everything in the file, revoked keys included."""

    secret_keys: list[SecretEntry] = field(default_factory=list)
    publishable_keys: list[PublishableEntry] = field(default_factory=list)
    suspended_apps: list[str] = field(default_factory=list)

    def entries(self) -> list[SecretEntry | PublishableEntry]:
        return [*self.secret_keys, *self.publishable_keys]

    def ring(self) -> KeyRing:
        """Return the keys that are not revoked. Raises `KeyProblem`."""
        return KeyRing(
            (entry.key() for entry in self.secret_keys if not entry.revoked),
            (entry.publishable() for entry in self.publishable_keys if not entry.revoked),
            self.suspended_apps,
        )


def load(path: Path) -> KeyFile:
    """Read a key file, YAML or JSON. Raises `KeyProblem` with a sentence that shows no secret."""
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()), os.geteuid())
            text = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise KeyProblem(
            f"{path}: there is no such key file; `orchestrator keys new --keys {path}` makes one"
        ) from None
    except OSError as error:
        raise KeyProblem(f"{path}: the key file cannot be read: {error.strerror}") from None
    if len(text) > _MAX_SIZE:
        raise KeyProblem(f"{path}: a key file has at most {_MAX_SIZE} bytes")
    return parse(text, str(path))


def parse(text: bytes, source: str) -> KeyFile:
    """Read the text of a key file. Raises `KeyProblem`."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no such date or number is a `ValueError`
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark is not None else source
        raise KeyProblem(f"{where}: the key file is neither YAML nor JSON") from None
    try:
        keys = msgspec.convert(content if content is not None else {}, KeyFile)
        keys.ring()
    except msgspec.ValidationError as error:
        raise KeyProblem(f"{source}: {error}") from None
    except KeyProblem as problem:
        raise KeyProblem(f"{source}: {problem}") from None
    except UnicodeEncodeError:
        raise KeyProblem(f"{source}: a key or secret holds half a character, which is no text") from None
    return keys


@contextmanager
def changed(path: Path) -> Iterator[KeyFile]:
    """Give the content of a key file, made if it is not there, to be changed; it is replaced when the block ends well.

    Two of these, in any processes, wait for each other. Raises `KeyProblem`.
    """
    try:
        lock = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyProblem(f"{path}: the key file cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = load(path) if path.exists() else KeyFile()
        yield keys
        keys.ring()
        _replace(path, keys)
    finally:
        os.close(lock)


def _replace(path: Path, keys: KeyFile) -> None:
    content: Any = msgspec.to_builtins(keys)
    if path.suffix == ".json":
        text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
    else:
        text = yaml.safe_dump(content, sort_keys=False)
    try:
        # made 0600 from the start, and in the same directory, so that it can take the other's place in one step
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KeyProblem(f"{path}: the key file cannot be written: {error.strerror}") from None


def _check_private(path: Path, status: os.stat_result, user: int) -> None:
    """Raise `KeyProblem` if others may read it, but for a group of ours whose file it is somebody else's to give us:
    so come secrets that are mounted for a service."""
    ours = user in (0, status.st_uid)
    if status.st_mode & (0o077 if ours else 0o037):
        mode = f"mode {status.st_mode & 0o777:o}"
        raise KeyProblem(f"{path}: others may read this key file ({mode}); `chmod 600 {path}` mends that")
