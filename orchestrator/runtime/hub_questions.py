"""What a hub asks its parent: whether somebody may sign in, and what the replicas have counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from orchestrator.hub.sign_in import Denied, Granted, Unanswered
from orchestrator.protocol.tokens import TokenRefused, verify
from orchestrator.runtime.control import BUCKETS, MetricsTold, MetricsWanted, SignedIn, SignIn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.hub.sign_in import Wish
    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.control import ReplicaFigures, ToParent

MAX_PENDING: Final = 32
"""Questions that wait for an answer; one more is not asked."""
SIGN_IN_PATIENCE: Final = 5.0
METRICS_PATIENCE: Final = 2.0
"""Seconds."""


class HubQuestions:
    """Of one hub; whoever reads what the parent says hands on the answers to `answered`."""

    bounds: Sequence[float] = BUCKETS

    def __init__(
        self, tell: Callable[[ToParent], None], keys: Mapping[str, SecretKey], wall: Callable[[], float]
    ) -> None:
        """`keys` are the hub's, by their ids; `wall` is in Unix seconds."""
        self._tell, self._keys, self._wall = tell, keys, wall
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    async def sign_in(self, wish: Wish) -> Granted | Denied:
        """Raises `Unanswered`."""
        number = self._next()
        answer = await self._asked(number, SignIn(number, wish.code, wish.token, wish.local), SIGN_IN_PATIENCE)
        if not isinstance(answer, SignedIn):
            raise Unanswered
        if not answer.token:
            return Denied(answer.refusal)
        try:
            _, claims = verify(answer.token, self._keys, self._wall())
        except TokenRefused:  # it would open nothing here
            raise Unanswered from None
        return Granted(answer.token, answer.expires_at, claims.sub)

    async def figures(self) -> Sequence[ReplicaFigures] | None:
        number = self._next()
        try:
            answer = await self._asked(number, MetricsWanted(number), METRICS_PATIENCE)
        except Unanswered:
            return None
        return answer.replicas if isinstance(answer, MetricsTold) else None

    def answered(self, message: SignedIn | MetricsTold) -> None:
        waiting = self._pending.get(message.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _asked(self, number: int, question: SignIn | MetricsWanted, patience: float) -> object:
        if len(self._pending) >= MAX_PENDING:
            raise Unanswered
        waiting = self._pending[number] = asyncio.get_running_loop().create_future()
        try:
            self._tell(question)
            async with asyncio.timeout(patience):
                return await waiting
        except TimeoutError:
            raise Unanswered from None
        finally:
            del self._pending[number]
