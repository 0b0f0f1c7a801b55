"""What the sidecar counts."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class RestMetrics:
    """Registered in the process's own registry, shown by its ops port."""

    def __init__(self, registry: CollectorRegistry, waits: Callable[[], float]) -> None:
        self.claim_answers = Counter(
            "agent_pool_claim_answers",
            "Answers to POST /api/pool/claim; 499: the client hung up.",
            ["code"],
            registry=registry,
        )
        self.claim_seconds = Histogram(
            "agent_pool_claim_seconds",
            "From the request to its answer.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        Gauge(
            "agent_pool_waits", "Requests that wait for a claim to end.", registry=registry
        ).set_function(waits)
        self.auth_failures = Counter(
            "agent_pool_auth_failures", "Wrong or missing keys.", registry=registry
        )
