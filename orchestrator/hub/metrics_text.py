"""What a hub and its run have counted, as OpenMetrics has it. It is imported where that is asked for, and not before."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import exposition as classic
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as open_metrics

from orchestrator.hub import loop_lag
from orchestrator.hub.agent_figures import OTHER, task_of
from orchestrator.hub.traffic import FAN_OUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from orchestrator.hub.agent_figures import AgentFigures
    from orchestrator.hub.metrics import ClusterReading, Reading, RunReading

_CLAIMS: Final = "claims/"
_OWN: Final = ("chunks", "reconnects")
"""Series with a metric of their own."""


def write(reading: Reading, *, old: bool = False) -> tuple[bytes, str]:
    """Return the text and its content type: OpenMetrics, or for an `old` reader the format that was before it."""
    exposition = classic if old else open_metrics
    return exposition.generate_latest(_Collector(reading)), exposition.CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        yield from _of_hub(self._reading)
        if self._reading.cluster is not None:
            yield from _of_cluster(self._reading.cluster)
        if self._reading.run is not None:
            yield from _of_run(self._reading.run)


def _of_hub(reading: Reading) -> Iterator[Metric]:
    traffic = reading.traffic
    yield _gauge("connections", "Open connections.", reading.connections)
    yield _gauge("subscriptions", "Subscriptions of all connections.", reading.subscriptions)
    yield _counter("connects", "Connections that were welcomed.", traffic.connects)
    yield _counters("closes", "Connections that have ended, by close code.", "code", traffic.closes)
    yield _counter("slow_consumer_closes", "Connections whose reader was too slow.", traffic.slow)
    yield _counters("refusals", "Those who were not let in, by cause.", "cause", traffic.refusals)
    received = {
        "publish": traffic.publishes,
        "send": traffic.sends,
        "subscribe": traffic.subscribes,
        "unsubscribe": traffic.unsubscribes,
        "ping": traffic.pings,
    }
    yield _counters("received", "Messages that came from connections, by kind.", "kind", received)
    delivered = {"message": traffic.messages, "direct": traffic.directs, "presence": traffic.presences}
    yield _counters("deliveries", "Messages put into outboxes, by kind.", "kind", delivered)
    yield _counters("errors", "Requests that were answered with an error, by its code.", "code", traffic.errors)
    bounds = [float(2**size - 1) for size in range(FAN_OUTS)]
    fan_out = HistogramMetricFamily("orchestrator_fan_out", "Connections that a publish went to at this hub.")
    fan_out.add_metric([], _cumulated(bounds, traffic.fan_outs), float(traffic.messages))
    yield fan_out
    yield _gauge("outbox_bytes", "Bytes that wait for readers that lag.", reading.waiting)
    yield _gauge("outbox_bytes_max", "Bytes that wait for the slowest of them.", reading.most_waiting)
    http = CounterMetricFamily("orchestrator_http_requests", "Answers over HTTP.", labels=("route", "status"))
    for (route, status), count in sorted(traffic.requests.items()):
        http.add_metric((route, status), count)
    yield http
    counts, total = reading.lag
    lag = HistogramMetricFamily("orchestrator_loop_lag_seconds", "How late the hub's event loop was, twice a second.")
    lag.add_metric([], _cumulated(loop_lag.BOUNDS, counts), total)
    yield lag


def _of_cluster(cluster: ClusterReading) -> Iterator[Metric]:
    yield _gauge("cluster_neighbours", "Other hubs that are known.", cluster.neighbours)
    yield _gauge("cluster_up", "1 while the backplane is there.", int(cluster.up))
    yield _gauge("cluster_stale", "1 while what is known of other hubs may be out of date.", int(cluster.stale))
    yield _counter("cluster_unsent", "Messages that could not be sent to the other hubs.", cluster.unsent)


def _of_run(run: RunReading) -> Iterator[Metric]:
    yield _gauge("run_answers", "1 if the run has told what its replicas have counted.", int(run.agents is not None))
    if run.agents is None:
        return
    yield from _of_tasks(run.agents, run.bounds)
    for name, text, series in (
        ("stream_chunks", "Chunks of streams that an agent has sent.", "chunks"),
        ("reconnects", "Times that an agent's replicas have connected again.", "reconnects"),
    ):
        family = CounterMetricFamily(f"orchestrator_{name}", text, labels=("agent",))
        for one in run.agents:
            family.add_metric((one.agent,), one.counts.get(series, 0))
        yield family
    restarts = CounterMetricFamily("orchestrator_restarts", "Replicas started again.", labels=("agent",))
    claims = CounterMetricFamily("orchestrator_claims", "Claims in teams, by outcome.", labels=("agent", "outcome"))
    events = CounterMetricFamily("orchestrator_agent_events", "Whatever else is counted.", labels=("agent", "event"))
    for one in run.agents:
        restarts.add_metric((one.agent,), one.restarts)
        for series, count in sorted(one.counts.items()):
            if series.startswith(_CLAIMS):
                claims.add_metric((one.agent, series.removeprefix(_CLAIMS)), count)
            elif task_of(series)[0] is None and series not in _OWN:
                events.add_metric((one.agent, series), count)
    yield from (restarts, claims, events)


def _of_tasks(agents: Sequence[AgentFigures], bounds: Sequence[float]) -> Iterator[Metric]:
    inflight = GaugeMetricFamily("orchestrator_tasks_in_flight", "Tasks that are worked on.", labels=("agent",))
    capacity = GaugeMetricFamily("orchestrator_task_capacity", "Tasks that may be at once.", labels=("agent",))
    ended = CounterMetricFamily(
        "orchestrator_tasks", "Tasks that have ended, by outcome.", labels=("agent", "task", "outcome")
    )
    took = HistogramMetricFamily("orchestrator_task_seconds", "How long tasks took.", labels=("agent", "task"))
    for one in agents:
        inflight.add_metric((one.agent,), one.inflight)
        capacity.add_metric((one.agent,), one.capacity)
        for series, count in sorted(one.counts.items()):
            task, outcome = task_of(series)
            if task is not None:
                ended.add_metric((one.agent, task, outcome or OTHER), count)
        for task, steps in sorted(one.seconds.items()):
            took.add_metric((one.agent, task), _cumulated(bounds, steps), one.total_seconds.get(task, 0.0))
    yield from (inflight, capacity, ended, took)


def _cumulated(bounds: Iterable[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return the steps of a histogram as they are written: each with all that were smaller."""
    names = [*map(str, bounds), "+Inf"]
    fitting = [*counts[: len(names) - 1], sum(counts[len(names) - 1 :])]
    fitting += [0] * (len(names) - len(fitting))
    return [(name, float(count)) for name, count in zip(names, accumulate(fitting), strict=True)]


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(f"orchestrator_{name}", text, value=value)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"orchestrator_{name}", text, value=value)


def _counters(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"orchestrator_{name}", text, labels=(label,))
    for word, count in sorted(counts.items()):
        family.add_metric((word,), count)
    return family
