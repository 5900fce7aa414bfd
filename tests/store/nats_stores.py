"""Stores on one server of NATS, which is started when a test first needs it and ends with the tests."""

from __future__ import annotations

import atexit
import functools
import itertools
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from orchestrator.store.nats import NatsStore, open_nats_store
from orchestrator.store.shared import Needs
from tests.brokers import JETSTREAM, Broker, start_nats

_namespaces = (f"test {number}" for number in itertools.count(1))
SYNCED: Final = "?sync=always"


@functools.cache
def server() -> Broker:
    """It does not wait for the disk: what these tests ask is not about loss of power."""
    folder = Path(tempfile.mkdtemp(prefix="nats"))
    broker = start_nats(folder, config=JETSTREAM.format(folder=folder).replace("always", '"1h"'))
    atexit.register(shutil.rmtree, folder)
    atexit.register(broker.kill)
    return broker


def opened(
    clock: Callable[[], float] | None = None, rng: random.Random | None = None, namespace: str | None = None
) -> AbstractAsyncContextManager[NatsStore]:
    """Yield a store of which nobody else knows, unless it is named."""
    return open_nats_store(
        server().url + SYNCED,
        namespace=namespace or next(_namespaces),
        needs=Needs(),
        clock=clock,
        rng=rng or random.Random(1),
    )
