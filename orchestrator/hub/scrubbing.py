"""What a recording leaves out: values whose names mean a secret, and texts that look like one, replaced in place.

Everything else stays byte by byte what it was, so that what a hub makes of a scrubbed message is what is left of that which
it made of the message. Scrubbing twice is the same as once.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

MASK: Final = "***"
_QUOTED: Final = f'"{MASK}"'
_DEEPEST: Final = 16
"""JSON within the strings of JSON; what lies deeper is left out as a whole."""

_ENDS: Final = (
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "signingkey",
    "sessionkey",
    "encryptionkey",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "secrets",
    "authorization",
    "bearer",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "iceufrag",
)
"""How names end that mean a secret, in small letters and without anything that is neither letter nor digit."""
_COUNTED: Final = "tokens"
"""The same, save for a number: that is how many there were."""
_NAMES: Final = (
    r"token|api[ _.-]?key|access[ _.-]?key|secret[ _.-]?key|private[ _.-]?key|signing[ _.-]?key|session[ _.-]?key"
    r"|encryption[ _.-]?key|password|passwd|passphrase|passcode|pwd|secret|authorization|cookie|credentials?|ice[ _.-]?ufrag"
)
_PAIR: Final = re.compile(
    rf"(?i)((?:{_NAMES})(?:\\*[\"'])?\s{{0,8}}(?:[:=]|%3d)\s{{0,8}}(?:\\*[\"'])?)([^\s\"'&,;}}\\]+)"
)
"""As in the query of a URL, or in words."""
_HEADER: Final = re.compile(r"(?i)((?:authorization|cookie)\s{0,8}[:=]\s{0,8})([^\r\n\"]+)")
_SHAPE: Final = re.compile(
    r"(?:sk_secret_|pk_live_)[\w-]+"
    r"|(?<![A-Za-z0-9])sk-[\w-]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|AKIA[0-9A-Z]{16}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^\"]*"
)
_DOTTED: Final = re.compile(r"(?<![\w-])[\w-]++(?:\.[\w-]*+){2,}+")
"""What may be a JWT; each run of its characters is looked at once."""
_BEARER: Final = re.compile(r"(?i)(\bbearer\s{1,8})[\w.~+/=-]{8,}")
_USER_INFO: Final = re.compile(r"://[^/\s@\"']{1,256}@")
_KEYED: Final = (b"api", b"access", b"private", b"signing", b"session", b"encrypt")
_HINTS: Final = (
    b"token",
    b"pass",
    b"pwd",
    b"secret",
    b"authorization",
    b"bearer",
    b"cookie",
    b"credential",
    b"ufrag",
    b"eyj",
    b"pk_live_",
    b"akia",
    b"://",
    b"\\u",
    b"-----begin",
)
_RARE: Final = re.compile(rb"(?:(?<![a-z0-9])sk-[\w-]{16}|gh[pousr]_[a-z0-9]{20})").search
_PIECE: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?\Z)|[{}\[\],:]|[^"{}\[\],:\s]+', re.DOTALL)
_OPEN: Final = "{["
_CLOSE: Final = "}]"
_json: Final = msgspec.json.Decoder(msgspec.Raw).decode


def is_secret_name(name: str) -> bool:
    """Tell whether a field of this name holds a secret."""
    plain = "".join(char for char in name.lower() if char.isalnum())
    return plain.endswith(_ENDS) or plain == "icepwd"


def may_hold_secrets(text: bytes) -> bool:
    """Tell whether a text is to be looked at closely; nearly none is."""
    low = text.lower()
    for hint in _HINTS:
        if hint in low:
            return True
    if b"key" in low and any(word in low for word in _KEYED):
        return True
    return (b"sk-" in low or b"gh" in low) and _RARE(low) is not None


def scrubbed(text: bytes) -> bytes:
    """Return the text of a message without its secrets; what is no UTF-8 stays what it is."""
    if not may_hold_secrets(text):
        return text
    plain = text.decode("utf-8", "surrogateescape")
    found = _walked(plain, 0)
    if not _is_json(text):
        found = _without_shapes(found)
    return found.encode("utf-8", "surrogateescape")


def shape_of(value: Any) -> Any:
    """Return a value with all that it says replaced, and nothing but its form left."""
    match value:
        case dict():
            return {
                scrubbed(key.encode(errors="surrogatepass")).decode(): shape_of(part) for key, part in value.items()
            }
        case list():
            return [shape_of(part) for part in value]
        case None:
            return None
    return MASK


def _is_json(text: bytes) -> bool:
    try:
        _json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _walked(text: str, depth: int) -> str:
    """Return JSON, or what has pieces of it, without secrets. It need not be whole."""
    parts: list[str] = []
    done = 0
    name: str | None = None
    """The string that was read last, if it may be the name of what follows."""
    secret: str | None = None
    """The same, once a colon came."""
    hidden = 0
    """How deep within a value that is left out."""
    for piece in _PIECE.finditer(text):
        word = piece.group()
        if hidden:
            hidden += (word in _OPEN) - (word in _CLOSE)
            done = piece.end()
            if not hidden:
                parts.append(_QUOTED)
            continue
        instead: str | None = None
        if word == ":":
            secret = name if name is not None and (is_secret_name(name) or _is_count(name)) else None
            name = None
            continue
        if secret is not None:
            instead = _hidden(word, secret)
            if word in _OPEN:
                hidden, instead = 1, ""
            secret = name = None
        elif word[0] == '"':
            content = piece.group(1)
            said = _decoded(content)
            name = said
            clean = _clean(said, depth)
            if clean != said:
                instead = json.dumps(clean) if "\\" in content or '"' in clean or "\\" in clean else f'"{clean}"'
        else:
            name = None
        if instead is not None:
            parts += (text[done : piece.start()], instead)
            done = piece.end()
    if hidden:
        parts.append(_QUOTED)
    return "".join((*parts, text[done:])) if parts else text


def _is_count(name: str) -> bool:
    return "".join(char for char in name.lower() if char.isalnum()).endswith(_COUNTED)


def _hidden(word: str, name: str) -> str | None:
    """Return what stands instead of a value of a secret name; `None` = it may stay."""
    if word in ("null", "true", "false", "]", "}", ","):
        return None
    if word[0] not in '"{[' and _is_count(name):
        return None
    return _QUOTED


def _decoded(content: str) -> str:
    if "\\" not in content:
        return content
    try:
        return str(json.loads(f'"{content}"', strict=False))
    except ValueError:
        return content


def _clean(said: str, depth: int) -> str:
    """Return the text of a string without secrets: it may be JSON itself, or hold some."""
    if not may_hold_secrets(said.encode(errors="surrogatepass")):
        return said
    if '"' in said:
        if depth >= _DEEPEST:
            return MASK
        said = _walked(said, depth + 1)
    return _without_shapes(said)


def _without_shapes(text: str) -> str:
    text = _HEADER.sub(rf"\g<1>{MASK}", text)
    text = _PAIR.sub(rf"\g<1>{MASK}", text)
    text = _BEARER.sub(rf"\g<1>{MASK}", text)
    text = _USER_INFO.sub(f"://{MASK}@", text)
    text = _DOTTED.sub(_without_jwt, text)
    return _SHAPE.sub(MASK, text)


def _without_jwt(found: re.Match[str]) -> str:
    text = found.group()
    start = text.find("eyJ")
    return text if start < 0 or text.count(".", start) < 2 else text[:start] + MASK
