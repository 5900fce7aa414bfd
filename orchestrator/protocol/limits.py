"""The protocol's numbers, in bytes, seconds and counts."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_SIZE: Final = 65_536
"""Bytes of serialised `data` that a hub advertises in `welcome`."""
MAX_FRAME_SIZE: Final = MAX_MESSAGE_SIZE + 4_096
"""Bytes of an inbound frame: the payload and room for its envelope."""
MAX_JOINED_SIZE: Final = 8 * 1024 * 1024
"""Bytes of a `data` that travels in parts, between peers that know of them."""
MAX_OUTBOUND_FRAME: Final = 1_048_576
"""Bytes of a frame toward a client; both stock clients close on more."""
MAX_DEPTH: Final = 64
"""Levels of JSON nesting that a hub relays."""
MAX_CHANNELS: Final = 100
"""Subscriptions of one connection."""
MAX_CHANNEL_NAME: Final = 256
"""UTF-8 bytes of a channel name or pattern."""
MAX_PEER_ID: Final = 128
MAX_REQUEST_ID: Final = 128
MAX_MESSAGE_ID: Final = 128
MAX_CHANNEL_CLAIMS: Final = 100
MAX_PERMISSION_CLAIMS: Final = 16
MAX_METADATA: Final = 8_192
"""Bytes of the private `metadata` claim, as compact JSON."""
MAX_PEER_METADATA: Final = 4_096
"""Bytes of the public `peerMetadata` claim, as compact JSON."""
MAX_TOKEN_LIFE: Final = 86_400
MIN_SECRET_BYTES: Final = 32
"""Bytes of an HMAC secret below which HS256 is weaker than its hash."""

RATE_PER_SECOND: Final = 100.0
RATE_BURST: Final = 200
"""Inbound frames of one connection: a bucket of this size refilled at that rate."""

SNAPSHOT_GAP: Final = 0.025
"""Seconds between a subscribe's ack and its roster: in one read with the ack, a stock client loses the roster."""
EXPIRY_LEAD: Final = 0.25
"""Seconds before a token's `exp` at which its connection is closed."""
NBF_LEEWAY: Final = 5
REPEAT_WINDOW: Final = 120.0
REPEAT_COUNT: Final = 100_000
"""Seconds, and messages of one app, for which a hub knows the id of a message again."""
OUTBOX_BYTES: Final = 1_048_576
OUTBOX_AGE: Final = 5.0
"""Bytes and seconds of unsent frames after which a slow consumer is closed."""
FAN_OUT_BYTES: Final = 134_217_728
"""Bytes per second, of a message times its receivers, that one publisher with limited messages may cause."""
PING_INTERVAL: Final = 25.0
PING_TIMEOUT: Final = 10.0
HANDSHAKE_TIMEOUT: Final = 5.0
MAX_REQUEST_HEAD: Final = 32_768
MAX_URL: Final = 24_576
MAX_REST_BODY: Final = 32_768
"""Bytes of a request's head, target and REST body."""
MAX_TOKEN: Final = MAX_URL - len("/v1?token=")
"""Characters of a token, for which a URL has room."""
GOING_AWAY_RETRY_MS: Final = 1_000

INACTIVITY_TIMEOUT: Final = 60.0
WELCOME_TIMEOUT: Final = 10.0
ACK_TIMEOUT: Final = 15.0
TOKEN_TIMEOUT: Final = 10.0
"""Seconds that a client waits for any frame, the welcome, an answer, and its token provider."""
