"""Texts that open something: their shapes, and what can be read off a token without any key."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_JWT: Final = r"eyJ[\w-]{8,}\.eyJ[\w-]{2,}\.[\w-]{16,}"
_KEY: Final = r"(?:pk_live|sk_live|sk_id)_[A-Za-z0-9]{6,}"
_PROVIDERS: Final = (
    r"sk-(?=[\w-]*[0-9])[\w-]{20,}",
    r"gh[opsur]_[A-Za-z0-9]{30,}",
    r"github_pat_\w{30,}",
    r"glpat-[\w-]{20,}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"AKIA[0-9A-Z]{16}",
    r"AIza[\w-]{35}",
    r"hf_[A-Za-z0-9]{30,}",
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
)
_CREDENTIAL: Final = re.compile(rf"(?<!\w)(?<!\w-)(?:{_JWT}|{_KEY})", re.ASCII)
_SECRET: Final = re.compile(
    rf"sk_secret_\w*|(?<!\w)(?<!\w-)(?:{'|'.join((_JWT, 'sk_live_[A-Za-z0-9]{6,}', *_PROVIDERS))})", re.ASCII
)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]*:([^\s/@'\"]+)@")
_SECRET_NAME: Final = re.compile(r"(?:.*_)?(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)", re.IGNORECASE)
_OPEN_NAME: Final = re.compile(r".*(?:PUBLIC|PUBLISHABLE|PRIMARY|FOREIGN|SORT|CACHE|PARTITION)_?KEY", re.IGNORECASE)
_PASSWORD_NAME: Final = re.compile(r".*(?:PASSWORD|PASSWD|PASSPHRASE)", re.IGNORECASE)
MIN_RANDOM: Final = 16
"""Characters below which a text is too short to be a key that a machine made."""
RANDOM_BITS: Final = 3.0
"""Bits of entropy per character from which a text looks made by a machine; words stay below it, or hold no digit."""


def credentials_in(text: str) -> Iterator[str]:
    """Yield the tokens and keys of a hub that stand in `text`."""
    for found in _CREDENTIAL.finditer(text):
        yield found[0]


def secrets_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield where in `text` something stands that is a secret by its shape alone."""
    for found in _SECRET.finditer(text):
        yield found.span()


def without_secrets(text: str) -> str:
    """Return a text with stars in place of what is a secret by its shape alone, as long as before."""
    return _SECRET.sub(lambda found: "*" * len(found[0]), text)


def password_in(text: str) -> tuple[int, int] | None:
    """Return where a URL holds a password; `None` where it holds none, or takes it from a variable."""
    for found in _URL.finditer(text):
        if "${" not in found[1]:
            return found.span(1)
    return None


def is_secret_by_name(name: str, value: str) -> bool:
    """Tell whether a variable of this name and value holds a secret: a password, or a key that a machine made."""
    if not _SECRET_NAME.fullmatch(name) or _OPEN_NAME.fullmatch(name) or not value or "${" in value:
        return False
    if value.startswith(("/", "./", "../", "~")) or "://" in value or " " in value:
        return False  # where a secret lies, or a sentence
    if _PASSWORD_NAME.fullmatch(name):
        return True
    if value.startswith(("pk_live_", "pk_test_")):
        return False
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return len(value) >= MIN_RANDOM and mixed and _entropy(value) >= RANDOM_BITS


def _entropy(text: str) -> float:
    """Return bits per character."""
    shares = [text.count(char) / len(text) for char in set(text)]
    return -sum(share * math.log2(share) for share in shares)


def is_publishable_key(credential: str) -> bool:
    return credential.startswith("pk_live_")


@dataclass(frozen=True, slots=True)
class TokenLife:
    """How long a token says it is valid: Unix seconds, `None` where it does not say."""

    begins: float | None
    ends: float | None


def is_token_of_a_hub(token: str) -> bool:
    """Tell whether a JWT is for a hub rather than for some other service, as far as it says so."""
    header, payload = _parts(token)
    if "kid" in header:
        return str(header["kid"]).startswith("sk_id_")
    return not payload.keys() & {"iss", "aud"}


def is_jwt(credential: str) -> bool:
    return credential.startswith("eyJ")


def token_life(token: str) -> TokenLife | None:
    """Return the life of a JWT; `None` for one that cannot be read."""
    header, payload = _parts(token)
    if not header:
        return None
    begins = _number(payload.get("iat"))
    return TokenLife(_number(payload.get("nbf")) if begins is None else begins, _number(payload.get("exp")))


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and payload; both empty for what cannot be read."""
    try:
        header, payload = (json.loads(_decoded(part)) for part in token.split(".")[:2])
    except (ValueError, binascii.Error, RecursionError):
        return {}, {}
    return (header, payload) if isinstance(header, dict) and isinstance(payload, dict) else ({}, {})


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
