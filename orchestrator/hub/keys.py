"""The keys that a hub accepts: pairs that sign tokens, and publishable keys that are credentials themselves."""

from __future__ import annotations

import hmac
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.protocol.codes import Action, CloseCode
from orchestrator.protocol.limits import MAX_TOKEN_LIFE, MIN_SECRET_BYTES
from orchestrator.protocol.tokens import Rate, SecretKey, allows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PUBLISHABLE_ACTIONS: Final = frozenset({Action.SUBSCRIBE, Action.PUBLISH, Action.PRESENCE})
"""What a publishable key allows unless it says otherwise: anybody may hold it, so it does not address single peers."""
MAX_KEYS_PER_APP: Final = 50
_NOBODYS: Final = "\0" * MIN_SECRET_BYTES
"""What a secret is compared with where there is none: no HTTP header can hold it."""
_ORIGIN: Final = re.compile(r"https?://[^/\s?#@]+")


class KeyProblem(OrchestratorError):
    """Keys, or the file that holds them, cannot be used."""

    exit_code = ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class PublishableKey:
    """A key that opens connections by itself, under a fresh peer id each."""

    key: str = field(repr=False)
    app: str = "default"
    channels: tuple[str, ...] = ("**",)
    actions: frozenset[Action] = PUBLISHABLE_ACTIONS
    origins: tuple[str, ...] = ()
    """Exact `scheme://host[:port]` of the pages that may use it; none = any client."""
    rate: Rate | Literal["unlimited"] | None = None
    """The message budget of its connections; `None` = the protocol's."""


class KeyRing:
    """Every key that is live, by what finds it. Immutable: a change of keys is another ring.

    Raises `KeyProblem` for a secret of fewer than 32 bytes, for limits that make no sense, for two keys that could be
    confused, and for more than 50 keys of one app.
    """

    def __init__(
        self,
        secret: Iterable[SecretKey] = (),
        publishable: Iterable[PublishableKey] = (),
        suspended: Iterable[str] = (),
    ) -> None:
        """`suspended` names apps whose keys are good and open nothing."""
        self.suspended = frozenset(suspended)
        signing: dict[str, SecretKey] = {}
        for key in secret:
            if key.id in signing:
                raise KeyProblem(f"the key id {key.id!r} is there twice")
            if len(key.secret.encode()) < MIN_SECRET_BYTES:
                raise KeyProblem(
                    f"the secret of {key.id!r} has {len(key.secret.encode())} bytes; "
                    f"at least {MIN_SECRET_BYTES} are needed (`orchestrator keys new` makes good ones)"
                )
            if not 1 <= key.max_token_life <= MAX_TOKEN_LIFE:
                raise KeyProblem(
                    f"max_token_life of {key.id!r} is {key.max_token_life}; it is a number of seconds from 1 to "
                    f"{MAX_TOKEN_LIFE}"
                )
            _check_rate(key.rate, f"the rate of {key.id!r}")
            signing[key.id] = key
        open_keys: dict[str, PublishableKey] = {}
        for page_key in publishable:
            if page_key.key in open_keys:
                raise KeyProblem("a publishable key is there twice")
            if len(page_key.key) < MIN_SECRET_BYTES // 2:
                raise KeyProblem("a publishable key is shorter than 16 characters, and could be guessed")
            for origin in page_key.origins:
                if not _ORIGIN.fullmatch(origin):
                    raise KeyProblem(f"the origin {origin!r} is not of the form 'https://host' or 'https://host:port'")
            _check_rate(page_key.rate, "the rate of a publishable key")
            open_keys[page_key.key] = page_key
        apps = [key.app for key in signing.values()] + [page_key.app for page_key in open_keys.values()]
        for app, count in Counter(apps).items():
            if count > MAX_KEYS_PER_APP:
                raise KeyProblem(f"the app {app!r} has {count} keys; at most {MAX_KEYS_PER_APP} are allowed")
        self.secret: Mapping[str, SecretKey] = MappingProxyType(signing)
        """By key id."""
        self.publishable: Mapping[str, PublishableKey] = MappingProxyType(open_keys)
        """By the key itself."""

    def holder(self, key_id: str, secret: str) -> SecretKey | None:
        """Return the pair that these are the two halves of; `None` for any other, in a time that tells no more."""
        key = self.secret.get(key_id)
        right = _same(_NOBODYS if key is None else key.secret, secret)
        return key if right else None

    def objection(self, key: SecretKey | PublishableKey) -> CloseCode | None:
        """Return the code that connections made with `key` are closed with; `None` = they may go on."""
        if key.app in self.suspended:
            return CloseCode.ACCOUNT_SUSPENDED
        present: SecretKey | PublishableKey | None
        if isinstance(key, PublishableKey):
            present = self.publishable.get(key.key)
        else:
            signing = self.secret.get(key.id)
            present = signing if signing is not None and _same(signing.secret, key.secret) else None
        if present is None or present.app != key.app:
            return CloseCode.INVALID_TOKEN
        # Some of these connections may not use what was taken away; all of them may come back with what is left.
        narrowed = not key.actions <= present.actions or not all(
            pattern in present.channels or allows(present.channels, pattern) for pattern in key.channels
        )
        return CloseCode.CHANNEL_NOT_AUTHORIZED if narrowed else None

    def __repr__(self) -> str:
        return f"KeyRing({list(self.secret)}, {len(self.publishable)} publishable)"


def _same(one: str, other: str) -> bool:
    """Compare secrets in a time that does not tell how much of them is equal."""
    return hmac.compare_digest(one.encode(), other.encode(errors="surrogatepass"))


def _check_rate(rate: Rate | Literal["unlimited"] | None, what: str) -> None:
    if isinstance(rate, Rate) and not (math.isfinite(rate.per_second) and rate.per_second > 0 and rate.burst >= 1):
        raise KeyProblem(
            f"{what} is {rate.per_second:g} a second and {rate.burst} at once; it needs more than 0 a second and at "
            "least 1 at once"
        )
