"""What a client shows to a hub: a publishable key, or a token that is asked for anew before every attempt."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Credentials:
    """Where the credential of each attempt comes from. A key or token is kept where no attribute shows it."""

    def __init__(
        self, token_provider: Callable[[], Awaitable[str]] | None, api_key: str | None, token: str | None = None
    ) -> None:
        if sum(given is not None for given in (token_provider, api_key, token)) != 1:
            raise ValueError("a client connects with exactly one of token, token_provider and api_key")
        if is_secret_key(str(api_key or token or "")):
            raise ValueError("that is a secret key: it stays where tokens are signed, and no client ever shows it")
        self.renewable = token is None
        """Whether what expires can be replaced by something fresh."""
        if token_provider is not None:
            self._parameter, self._source = "token", token_provider
        elif api_key is not None and is_credential(api_key):
            self._parameter, self._source = "key", _constant(api_key)
        elif is_credential(token):
            self._parameter, self._source = "token", _constant(token)
        else:
            form = "api_key is not a publishable key: it is a text without spaces, like pk_live_…"
            raise ValueError(form if token is None else "token is no token: it is a text without spaces, like eyJ….….…")

    async def fetch(self) -> tuple[str, str, str | None]:
        """Return the query parameter, the credential, and what is wrong with it: a sentence without secrets, or `None`."""
        try:
            asked: Any = self._source()
            if not inspect.isawaitable(asked):
                return self._parameter, "", "the token provider is no async function: nothing to await came of it"
            credential: Any = await asked
        except Exception as error:  # noqa: BLE001 - whatever a user's provider raises is a failed attempt, and is told
            return self._parameter, "", f"the token provider raised {type(error).__name__}"
        if not is_credential(credential):
            return self._parameter, "", "the token provider returned something that is no token"
        if is_secret_key(credential):
            return self._parameter, "", "the token provider returned a secret key, which no client ever shows"
        return self._parameter, credential, None


def is_secret_key(text: str) -> bool:
    """Tell by its first letters whether a text is a secret key, which no token or publishable key begins like."""
    return text.startswith("sk_")


def is_credential(value: object) -> bool:
    """Tell whether `value` can be a token or a key at all: a printable ASCII text without spaces."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != "" and " " not in value


def _constant(value: Any) -> Callable[[], Awaitable[str]]:
    async def source() -> str:
        return str(value)

    return source
