"""A guardian that may not start anybody: ``python -m tests.runtime.children.refused FD``."""

from __future__ import annotations

import os
import resource
import socket
import sys

from orchestrator.runtime.guardian import Guardian, live

NOBODY = 65_534


def main() -> int:
    guardian = Guardian(socket.socket(fileno=int(sys.argv[1])))
    guardian._warm_up()
    resource.setrlimit(resource.RLIMIT_NPROC, (0, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
    if os.getuid() == 0:  # whom that limit does not hold for
        os.setresuid(NOBODY, NOBODY, NOBODY)
    birth = guardian.guard()
    return 0 if birth is None else live(birth)


if __name__ == "__main__":
    sys.exit(main())
