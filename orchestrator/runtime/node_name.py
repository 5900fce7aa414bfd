"""What the hub of this machine is called among those that it is joined to."""

from __future__ import annotations

import re
import socket
from typing import Final

LONGEST: Final = 40


def node_name() -> str:
    """Return the name of the machine, as far as it is letters, digits and hyphens; ``hub``, where nothing of it is."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().partition(".")[0]).strip("-")
    return name[:LONGEST] or "hub"
