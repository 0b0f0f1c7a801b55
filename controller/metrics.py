"""What the controller tells Prometheus: read from its own state at each scrape, so no path pays for it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.leading import Controller

PHASES = ("provisioning", "idle", "claimed", "failed", "total", "waiting", "outdated")


class ControllerMetrics(Collector):
    """Names begin with `agent_pool_`; labels are pool and phase, never a claim."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Iterator[Metric]:
        leading = GaugeMetricFamily("agent_pool_leading", "1 while this process leads")
        leading.add_metric([], float(self._controller.elector.leading))
        yield leading
        yield self._instances()
        yield from self._work()

    def _instances(self) -> Metric:
        gauge = GaugeMetricFamily(
            "agent_pool_instances", "Counts of each pool's status", labels=("pool", "phase")
        )
        term = self._controller.term
        for key, status in (term.reconciler.reported if term else {}).items():
            for phase in PHASES:
                gauge.add_metric([str(key), phase], float(getattr(status, phase)))
        return gauge

    def _work(self) -> Iterator[Metric]:
        term = self._controller.term
        if term is None:
            return
        yield GaugeMetricFamily(
            "agent_pool_handovers_open",
            "Claims being handed over",
            value=float(len(term.deliveries)),
        )
        orphans = GaugeMetricFamily(
            "agent_pool_orphans", "Services with our mark and no record", labels=("pool",)
        )
        for pool, count in term.environment.orphan_counts().items():
            orphans.add_metric([pool], float(count))
        yield orphans
        reachable = term.environment.weather.reachable
        yield GaugeMetricFamily(
            "agent_pool_railway_reachable",
            "1 while looks at Railway succeed",
            value=float(reachable is True),
        )
        requests = CounterMetricFamily("agent_pool_railway_requests", "Requests sent to Railway")
        requests.add_metric([], float(term.environment.requests))
        yield requests
        ended = CounterMetricFamily(
            "agent_pool_handovers_ended",
            "Hand-overs by the phase their claim came to; Pending: let go, to be bound anew",
            labels=("phase",),
        )
        for phase, count in term.deliveries.ended.items():
            ended.add_metric([phase], float(count))
        yield ended


def registry_of(controller: Controller) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ControllerMetrics(controller))
    return registry
