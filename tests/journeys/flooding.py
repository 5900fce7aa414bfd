"""Those who do not mean well: programs that knock at a hub as often, or as slowly, as they can.

Run as ``python -m tests.journeys.flooding HOW PORT FROM RATE SECONDS MOST``. Each begins with its first line on stdout,
and ends after its time, or when its input does, with a line of JSON that counts what became of its sockets.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Final

HEAD: Final = (
    b"GET /v1?token=%b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
) % (b"x" * 300)
ENDINGS: Final = {"connects": HEAD, "slow": HEAD[:100], "silent": b""}
"""What each kind says at once."""


@dataclass
class Became:
    opened: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    """How often each status was the answer; the empty one stands for an end without an answer."""
    most_open: int = 0
    failed: int = 0
    """Attempts for which the system had no place."""


class Flood:
    """Opens so many sockets a second from one address, and at most so many at a time, in one thread, waiting for none."""

    def __init__(self, how: str, port: int, source: str, rate: float, most: int) -> None:
        self.became = Became()
        self._says = ENDINGS[how]
        self._to = ("127.0.0.1", port)
        self._source = source
        self._rate = rate
        self._most = most
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}

    def run(self, seconds: float) -> None:
        began = time.monotonic()
        self._poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        turn = 0
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * self._rate) - turn
            turn += due
            for _ in range(min(due, 200, self._most - len(self._open))):
                self._knock()
            for number, _ in self._poll.poll(0.005):
                if number == 0:
                    return
                self._heard(number)

    def _knock(self) -> None:
        knocking = socket.socket()
        try:
            knocking.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen by the connect
            knocking.bind((self._source, 0))
            knocking.settimeout(1.0)
            knocking.connect(self._to)
            knocking.send(self._says)
        except OSError:
            self.became.failed += 1
            knocking.close()
            return
        knocking.setblocking(False)
        self._open[knocking.fileno()] = knocking
        self._poll.register(knocking, select.EPOLLIN | select.EPOLLRDHUP)
        self.became.opened += 1
        self.became.most_open = max(self.became.most_open, len(self._open))

    def _heard(self, number: int) -> None:
        ended = self._open.pop(number)
        try:
            status = ended.recv(65_536)[9:12].decode()
        except OSError:
            status = ""
        self.became.answers[status] = self.became.answers.get(status, 0) + 1
        ended.close()


def main() -> None:
    how, port, source, rate, seconds, most = sys.argv[1:]
    os.nice(10)
    print(flush=True)
    flood = Flood(how, int(port), source, float(rate), int(most))
    flood.run(float(seconds))
    print(json.dumps(asdict(flood.became)), flush=True)


if __name__ == "__main__":
    main()
