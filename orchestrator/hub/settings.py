"""What a hub can be told about itself: its limits, times and files."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.protocol import limits


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes in bytes, times in seconds; a limit of 0 means none."""

    snapshot_gap: float = limits.SNAPSHOT_GAP
    """Between the moment an ack is written and its roster. 0 only where no stock client listens."""
    presence_window: float = 0.04
    """For which changes of a busy roster are gathered, to be told as one: whoever leaves is seen to within 50 ms."""
    ping_interval: float = limits.PING_INTERVAL
    """Of silence, after which a connection is asked for a sign of life."""
    ping_timeout: float = limits.PING_TIMEOUT
    outbox_bytes: int = limits.OUTBOX_BYTES
    outbox_age: float = limits.OUTBOX_AGE
    outbound_bytes: int | None = None
    """Of all readers that lag together; beyond it, those with most waiting are closed first. `None` = a quarter of the
    memory that the server's process may have, and no limit for a hub without a server."""
    fan_out_bytes: int = limits.FAN_OUT_BYTES
    """Per second that one publisher may have written to others, if its messages are limited at all."""
    max_frame: int = limits.MAX_FRAME_SIZE
    frame_timeout: float = 15.0
    """For a frame, or a message in fragments, from its first byte to its last."""
    max_channels: int = limits.MAX_CHANNELS
    max_connections: int = 0
    """Of one app at a time."""
    max_messages: int = 0
    """Attempted publishes and sends of one app."""

    handshake_timeout: float = limits.HANDSHAKE_TIMEOUT
    max_waiting: int = 1_000
    """Sockets that have not yet sent a whole request; beyond that, the address with the most of them gives up its
    oldest."""
    connects_per_minute: int = 60
    """WebSocket attempts from one address; an IPv6 address counts as the 64 bits that it begins with."""
    limit_loopback: bool = False
    """The number of attempts is limited on this machine's own addresses too."""
    close_wait: float = 5.0
    """For the other side's close frame, before the socket is cut."""

    retry_after_ms: int = limits.GOING_AWAY_RETRY_MS
    drain_window: float = 10.0
    """Over which the closes of a shutdown are spread at most."""
    drain_rate: float = 500.0
    """Closes per second that a shutdown does not exceed while it has time."""
    drain_grace: float = 5.0
    """For the other sides' close frames, after the last close of a shutdown was sent."""

    backplane: str | None = field(default=None, repr=False)
    """The URL of the engine that joins this hub to others; it may hold a password. `None` = it stands alone."""
    node_name: str = "hub"
    """What the hub is called among the others; each start of it adds something of its own."""

    metrics: bool = True
    """Tell them at `/metrics` to whoever may know."""

    tls_certificate: str | None = None
    tls_key: str | None = None
    """PEM files; without the second one, the first holds both."""
