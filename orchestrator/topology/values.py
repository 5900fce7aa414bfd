"""The kinds of value that a topology holds, each read from text by one strict function with words of its own.

A reader takes what YAML gives, which is text or nothing, or the finished Python value when the data were made in code.
It raises `Wanted` when the value is of another kind, and `Refused` when it is of the right kind but not allowed.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from orchestrator.protocol import limits
from orchestrator.protocol.names import is_channel, is_reserved
from orchestrator.protocol.tokens import SecretKey


class Text(str):
    """A text that stood in the file without quotes, or was filled in from a variable: it may mean a number."""

    __slots__ = ("written",)
    written: str
    """What stands in the file, references to variables and all."""

    def __new__(cls, text: str, written: str) -> Text:
        new = super().__new__(cls, text)
        new.written = written
        return new


def was_filled_in(value: Any) -> bool:
    """Tell whether a text came from a variable in part: then no message repeats it, for it may be a secret."""
    return isinstance(value, Text) and value != value.written


class Nothing(Enum):
    """A key with nothing after it. It is never a value, not even where a key may be left out."""

    NOTHING = "nothing"


class Wanted(ValueError):
    """A value is of another kind than `what` says."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)


class Refused(ValueError):
    """A value is of the right kind, but not allowed; `sentence` says why."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(sentence)


_NAME: Final = re.compile("[a-z][a-z0-9_-]*")
MAX_NAME: Final = 63
_WHOLE: Final = re.compile("0|[1-9][0-9]{0,17}")
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?")
_DURATION: Final = re.compile(r"((?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_IDENTIFIER: Final = r"[^\W\d]\w*"
_HANDLER: Final = re.compile(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*(:{_IDENTIFIER})?")
_MESSAGE: Final = re.compile(r"[^\W\d_]\w{0,127}")
_VARIABLE: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_CAPABILITY: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def read_name(value: Any) -> str:
    text = _of_kind(value, "a name")
    if not is_name(text):
        near = re.sub("[^a-z0-9_-]", "-", text.lower())
        hint = f" (did you mean {near!r}?)" if is_name(near) and not was_filled_in(value) else ""
        raise Refused(f"a name begins with a small letter and holds only small letters, digits, '-' and '_'{hint}")
    if len(text) > MAX_NAME:
        raise Refused(f"a name has at most {MAX_NAME} characters, and this one has {len(text)}")
    return text


def read_version(value: Any) -> Literal[1]:
    if _whole(value) != 1:
        raise Wanted("1, the version of the topology language")
    return 1


def read_count(value: Any) -> int:
    number = _whole(value)
    if number is None or number < 1:
        raise Wanted("a whole number of at least 1")
    if number > MAX_COUNT:
        raise Refused(f"this is too many; at most {MAX_COUNT} are possible")
    return number


MAX_COUNT: Final = 1000


def read_attempts(value: Any) -> int | None:
    if isinstance(value, str) and value == "unlimited":
        return None
    number = _whole(value)
    if number is None:
        raise Wanted("a whole number, or 'unlimited'")
    return number


def read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Text) and value in ("true", "false"):
        return value == "true"
    raise Wanted("true or false")


def read_duration(value: Any) -> float:
    """Return seconds."""
    seconds = _seconds(value)
    if seconds is None:
        raise Wanted("a duration such as 150ms, 30s, 2m or 1h, or a number of seconds")
    if seconds > MAX_SECONDS:
        raise Refused("this duration is longer than a year")
    return seconds


MAX_SECONDS: Final = 366 * 86_400.0


def read_positive_duration(value: Any) -> float:
    seconds = read_duration(value)
    if not seconds:
        raise Refused("this duration must be longer than nothing")
    return seconds


def read_watchdog(value: Any) -> float | None:
    """Return seconds; `None` for nothing that is watched."""
    if isinstance(value, str) and value == "unlimited":
        return None
    if _seconds(value) is None:
        raise Wanted("a duration such as 20s or 1m, a number of seconds, or 'unlimited'")
    seconds = read_duration(value)
    if seconds < MIN_WATCHDOG:
        raise Refused(f"a handler may block its event loop for {MIN_WATCHDOG:g}s at least, or 'unlimited'")
    return seconds


MIN_WATCHDOG: Final = 1.0
"""Seconds; below it, a machine that is busy for a moment would look like a handler that is stuck."""


def read_token_ttl(value: Any) -> float:
    seconds = read_duration(value)
    if not MIN_TOKEN_LIFE <= seconds <= limits.MAX_TOKEN_LIFE:
        raise Refused(f"a token lives between {MIN_TOKEN_LIFE:g}s and {limits.MAX_TOKEN_LIFE // 3600}h")
    return seconds


MIN_TOKEN_LIFE: Final = 1.0
"""Seconds; below it, a connection would spend its time on renewing its token."""


def read_handler(value: Any) -> str:
    text = _of_kind(value, "a handler, written 'module:Class' or 'module'")
    if not _HANDLER.fullmatch(text):
        raise Refused(
            "a handler is written 'module:Class' or 'module', with dots between packages: no path, no '..', no spaces"
        )
    return text


def read_argument(value: Any) -> str:
    if not isinstance(value, str):
        raise Wanted("one word of a command")
    if "\x00" in value:
        raise Refused("a word of a command cannot hold a NUL character")
    return str.__str__(value)


def read_message_name(value: Any) -> str:
    text = _of_kind(value, "the name of a task, which is that of its class")
    if not _MESSAGE.fullmatch(text):
        raise Refused("a task is named like its class: letters, digits and '_', beginning with a letter")
    return text


def read_file_path(value: Any) -> str:
    text = _of_kind(value, "the path of a file")
    if not text or "\x00" in text:
        raise Wanted("the path of a file")
    return text


def read_delivery(value: Any) -> str:
    if value not in ("at-most-once", "at-least-once"):
        raise Wanted("'at-most-once' or 'at-least-once'")
    return str.__str__(value)


def read_consistency(value: Any) -> str:
    if value not in ("strong", "best-effort"):
        raise Wanted("'strong' or 'best-effort'")
    return str.__str__(value)


def read_backplane(value: Any) -> str:
    return _engine(value, "memory", ("nats", "redis", "rediss"))


def read_store(value: Any) -> str:
    if value == "memory":  # the colon of 'memory:' wants quotes in YAML
        return "memory:"
    return _engine(value, "memory:", ("sqlite", "nats", "redis", "rediss"))


def _engine(value: Any, local: str, schemes: tuple[str, ...]) -> str:
    """Return the address of an engine, which may hold a password: no message repeats it."""
    known = ", ".join([repr(local), *(f"{scheme}://…" for scheme in schemes)])
    text = _of_kind(value, f"one of {known}")
    if text == local:
        return text
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in schemes or not rest.strip("/") or not text.isprintable() or " " in text:
        raise Refused(f"this is none of {known}") if "@" in text else Wanted(f"one of {known}")
    return text


def read_channel(value: Any) -> str:
    text = _of_kind(value, "the name of a channel")
    if "*" in text or "\\" in text:
        raise Refused("this names one channel, so it holds no '*' and no backslash")
    if text.startswith(("tasks/", "pools/")):
        raise Refused("channels under 'tasks/' and 'pools/' belong to the workers; choose another name")
    return read_pattern(text)


def read_pattern(value: Any) -> str:
    text = _of_kind(value, "a channel or a pattern of channels")
    if not is_channel(text):
        raise Refused(f"a channel has 1 to {limits.MAX_CHANNEL_NAME} bytes and no control characters")
    if is_reserved(text):
        raise Refused("channels under '_metered/', '_internal/' and '_system/' are reserved for the hub")
    return text


def read_peer_pattern(value: Any) -> str:
    text = _of_kind(value, "a peer id or a pattern of peer ids")
    if not 0 < len(text) <= limits.MAX_PEER_ID or not text.isascii() or not text.isprintable():
        raise Refused(f"a peer id has 1 to {limits.MAX_PEER_ID} printable ASCII characters")
    return text


def read_capability(value: Any) -> str:
    text = _of_kind(value, "a capability, which is a word such as 'pdf'")
    if not _CAPABILITY.fullmatch(text):
        raise Refused("a capability is a word of at most 64 letters, digits, '.', '_', '+' and '-'")
    return text


def read_label(value: Any) -> str:
    text = _of_kind(value, "text")
    if not 0 < len(text) <= 128 or not text.isprintable():
        raise Refused("a name for people has 1 to 128 printable characters")
    return text


def read_variable_name(value: Any) -> str:
    text = _of_kind(value, "the name of an environment variable")
    if not _VARIABLE.fullmatch(text):
        raise Refused(
            "the name of an environment variable holds only letters, digits and '_', and begins with no digit"
        )
    if text.startswith("ORCHESTRATOR_"):
        raise Refused("variables that begin with 'ORCHESTRATOR_' are the runtime's own and reach no agent")
    return text


def read_variable_value(value: Any) -> str:
    if not isinstance(value, str):
        raise Wanted("text, or '' for none")
    if "\x00" in value:
        raise Refused("the value of an environment variable cannot hold a NUL character")
    return str.__str__(value)


def read_condition(value: Any) -> str:
    if value not in ("on-failure", "always", "never"):
        raise Wanted("'on-failure', 'always' or 'never'")
    return str.__str__(value)


def read_start_method(value: Any) -> str:
    if value not in ("fork", "spawn"):
        raise Wanted("'fork' or 'spawn'")
    return str.__str__(value)


class Address(NamedTuple):
    host: str
    port: int
    """0 = any free one."""


def read_listen(value: Any) -> Address:
    if isinstance(value, Address):
        return value
    text = _of_kind(value, "an address such as 127.0.0.1:7700")
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[2]) > 65_535:
        raise Wanted("an address such as 127.0.0.1:7700; port 0 is any free one")
    return Address(found[1].strip("[]"), int(found[2]))


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK


def read_hub_url(value: Any) -> str | None:
    """Return `None` for a hub that is started along with the agents."""
    text = _of_kind(value, "'local', or a URL that begins with ws:// or wss://")
    if text == "local":
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not text.isprintable() or " " in text:
        raise Wanted("'local', or a URL that begins with ws:// or wss://")
    if parts.username is not None or parts.query or parts.fragment:
        raise Refused("the URL of a hub holds no user, no '?' and no '#'; the credential goes under 'key'")
    return text


def read_key(value: Any) -> SecretKey | None:
    """Return `None` for an empty text, which is what ``${HUB_KEY:-}`` makes of an absent variable."""
    if isinstance(value, SecretKey) or value is None or value == "":
        return value or None
    if not isinstance(value, str):
        raise Wanted("a key from a variable, such as '${HUB_KEY}'")
    try:
        key = SecretKey.parse(value)
    except ValueError:
        raise Refused("a key is a pair sk_id_…:sk_secret_…, and this is none") from None
    if len(key.secret.encode()) < limits.MIN_SECRET_BYTES:
        raise Refused(f"the secret of this key is shorter than {limits.MIN_SECRET_BYTES} bytes")
    return key


def _of_kind(value: Any, kind: str) -> str:
    if not isinstance(value, str):
        raise Wanted(kind)
    return str.__str__(value)


def _whole(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    return int(value) if isinstance(value, Text) and _WHOLE.fullmatch(value) else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) and value >= 0 else None
    if isinstance(value, Text) and _DECIMAL.fullmatch(value):
        return float(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return round(float(found[1]) * _SECONDS[found[2]], 9) if found else None


Name: TypeAlias = Annotated[str, read_name]
Label: TypeAlias = Annotated[str, read_label]
Version: TypeAlias = Annotated[Literal[1], read_version]
Count: TypeAlias = Annotated[int, read_count]
Attempts: TypeAlias = Annotated[int | None, read_attempts]
Flag: TypeAlias = Annotated[bool, read_boolean]
Duration: TypeAlias = Annotated[float, read_duration]
PositiveDuration: TypeAlias = Annotated[float, read_positive_duration]
Watchdog: TypeAlias = Annotated[float | None, read_watchdog]
TokenLife: TypeAlias = Annotated[float, read_token_ttl]
Argument: TypeAlias = Annotated[str, read_argument]
MessageName: TypeAlias = Annotated[str, read_message_name]
FilePath: TypeAlias = Annotated[str, read_file_path]
Delivery: TypeAlias = Annotated[Literal["at-most-once", "at-least-once"], read_delivery]
Consistency: TypeAlias = Annotated[Literal["strong", "best-effort"], read_consistency]
Backplane: TypeAlias = Annotated[str, read_backplane]
StoreUrl: TypeAlias = Annotated[str, read_store]
HandlerRef: TypeAlias = Annotated[str, read_handler]
Channel: TypeAlias = Annotated[str, read_channel]
ChannelPattern: TypeAlias = Annotated[str, read_pattern]
PeerPattern: TypeAlias = Annotated[str, read_peer_pattern]
Capability: TypeAlias = Annotated[str, read_capability]
VariableName: TypeAlias = Annotated[str, read_variable_name]
VariableValue: TypeAlias = Annotated[str, read_variable_value]
Condition: TypeAlias = Annotated[Literal["on-failure", "always", "never"], read_condition]
StartMethod: TypeAlias = Annotated[Literal["fork", "spawn"], read_start_method]
Listen: TypeAlias = Annotated[Address, read_listen]
HubUrl: TypeAlias = Annotated[str | None, read_hub_url]
HubKey: TypeAlias = Annotated[SecretKey | None, read_key]
