"""The guardian of a run, as the parent starts it: imports little, so that it can be the first thing a run does."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.runtime import open_files
from orchestrator.runtime.environment import harmless_environment

if TYPE_CHECKING:
    from collections.abc import Mapping


class Guardian:
    """A guardian's process, and our end of the way to it. It can be started long before it is needed, to warm up."""

    def __init__(self, environ: Mapping[str, str], *, warm: bool = False) -> None:
        """`warm`: it loads what forked children need as soon as it has nothing else to do, and not when the first is wanted.

        Raises `OSError`.
        """
        self.end, theirs = socket.socketpair()
        with theirs:
            try:
                # -P: nothing in the current directory shadows a module of ours or of the standard library.
                self.process: Final = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                    [
                        *(sys.executable, "-P", "-m", "orchestrator.runtime.guardian"),
                        *(str(theirs.fileno()), str(open_files.given()), *(["warm"] if warm else [])),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # ours may be a pipe whose reader waits for its end
                    stderr=subprocess.PIPE,
                    env=harmless_environment(environ),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                self.end.close()
                raise
        self.end.setblocking(False)

    def __enter__(self) -> Guardian:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if nobody has done so: it has no children then."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()
        self.end.close()
