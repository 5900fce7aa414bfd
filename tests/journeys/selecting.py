"""An agent that tells how many files it may have open."""

from __future__ import annotations

import resource

from orchestrator import Context, agent, every


@agent
class Teller:
    told: bool = False

    @every("10ms")
    async def tell(self, ctx: Context) -> None:
        if not self.told:
            self.told = True
            ctx.log.info("may open", files=list(resource.getrlimit(resource.RLIMIT_NOFILE)))
