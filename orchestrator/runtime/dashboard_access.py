"""Who gets a token for the dashboard of a run's hub: its own user, and whoever has a link that was not used before.

The token is that of the built-in user. It names an instance, so that one which is renewed goes on with the connection,
and the streams on it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.tokens import TokenRefused, mint, verify
from orchestrator.runtime.control import SignedIn
from orchestrator.topology.operator import operator_claims
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.control import SignIn
    from orchestrator.topology.plan import Plan

TOKEN_LIFE: Final = 3_600
"""Seconds."""
CODE_LIFE: Final = 600.0
MAX_CODES: Final = 100
"""Links that are good at a time: one more, and the oldest is not any more."""
_OWN: Final = re.compile(rf"{ASKER}/(dashboard-[^/]+)")
_WRONG_CODE: Final = "this link is not good any more: it is for one use within ten minutes; have another one made"
_WRONG_TOKEN: Final = "this token cannot be renewed: sign in again"


def new_word() -> str:
    """Return what nobody guesses."""
    return secrets.token_hex(16)


class DashboardAccess:
    """Of one run, whose `plan` may become another."""

    def __init__(
        self, key: SecretKey, plan: Plan, now: Callable[[], float], new_id: Callable[[], str] = new_word
    ) -> None:
        """`now` is in Unix seconds; what `new_id` returns is never the same twice, and cannot be guessed."""
        self.plan = plan
        self._key, self._now, self._new_id = key, now, new_id
        self._codes: dict[str, float] = {}
        """With the time until which each is good, which is in the order of their making."""

    def new_code(self) -> str:
        """Return what signs in once, within ten minutes."""
        self._forget_old_codes()
        while len(self._codes) >= MAX_CODES:
            del self._codes[next(iter(self._codes))]
        code = self._new_id()
        self._codes[code] = self._now() + CODE_LIFE
        return code

    def answer(self, wish: SignIn) -> SignedIn:
        """Grant or refuse what a hub has passed on; it has seen to who is ``local``."""
        if wish.token:
            return self._renewed(wish)
        if wish.code and not self._used(wish.code):
            return SignedIn(wish.request, refusal=_WRONG_CODE)
        if not (wish.code or wish.local):
            return SignedIn(wish.request, refusal="nothing was given to sign in with")
        return self._granted(wish, f"dashboard-{self._new_id()[:8]}", self._new_id())

    def _renewed(self, wish: SignIn) -> SignedIn:
        try:
            _, claims = verify(wish.token, {self._key.id: self._key}, self._now())
        except TokenRefused:
            return SignedIn(wish.request, refusal=_WRONG_TOKEN)
        named = _OWN.fullmatch(claims.sub)
        if named is None or claims.instance is None:
            return SignedIn(wish.request, refusal=_WRONG_TOKEN)
        return self._granted(wish, named[1], claims.instance)

    def _granted(self, wish: SignIn, sub: str, instance: str) -> SignedIn:
        expires_at = int(self._now()) + TOKEN_LIFE
        claims = operator_claims(self.plan, sub, expires_at, instance)
        return SignedIn(wish.request, mint(self._key, claims), expires_at)

    def _used(self, code: str) -> bool:
        """Tell whether a code is good, which it is not any more then; all are compared, however early one is found."""
        self._forget_old_codes()
        given = code.encode("utf-8", "surrogatepass")
        found = [known for known in self._codes if hmac.compare_digest(known.encode(), given)]
        for known in found:
            del self._codes[known]
        return bool(found)

    def _forget_old_codes(self) -> None:
        now = self._now()
        self._codes = {code: until for code, until in self._codes.items() if until > now}
