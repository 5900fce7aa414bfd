"""Where frames begin and end in what a server sent, and what a client has to answer to them."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from orchestrator.protocol.codes import closing

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9


class Found(NamedTuple):
    """A whole frame: its kind, where its content begins, and where it ends."""

    kind: int
    content: int
    end: int


class Framing(Protocol):
    """How a kind of server marks frames; `TEXT`, `PING` and `CLOSE` stand for what it calls these."""

    def next(self, data: bytes, start: int) -> Found | None:
        """Return the frame that begins at `start`; `None` = it is not whole."""

    def pong(self, content: bytes) -> bytes:
        """Return the answer to a `PING`."""

    def farewell(self, content: bytes) -> str:
        """Return in words what a `CLOSE` says."""


class WebSocketFraming:
    """Unmasked frames, as servers send them."""

    def next(self, data: bytes, start: int) -> Found | None:
        have = len(data) - start
        if have < 2:
            return None
        size, content = data[start + 1] & 0x7F, start + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if have < 2 + wide:
                return None
            size, content = int.from_bytes(data[content : content + wide], "big"), content + wide
        if len(data) < content + size:
            return None
        return Found(data[start] & 0x0F, content, content + size)

    def pong(self, content: bytes) -> bytes:
        return bytes((0x8A, 0x80 | len(content))) + _KEY + content

    def farewell(self, content: bytes) -> str:
        code = int.from_bytes(content[:2], "big") if len(content) >= 2 else 1005
        return f"the hub closed a connection with {code}: {closing(code).meaning}"


_KEY: Final = bytes(4)
"""A mask that changes nothing: frames are made beforehand, and their content is checked as it is."""


def text_frame(content: bytes) -> bytes:
    """Return a text frame as a client sends it."""
    size = len(content)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 65_536:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + _KEY + content


def close_frame(code: int) -> bytes:
    return b"\x88\x82" + _KEY + code.to_bytes(2, "big")
