"""The counts and measurements of a gateway."""

import math
from collections.abc import Mapping

from prometheus_client import generate_latest

from pattern_metrics.consumer.telemetry.metric_table import (
    GATEWAY_EVENTS,
    GATEWAY_IN_FLIGHT,
    GATEWAY_READY,
    GATEWAY_REFUSALS,
    GATEWAY_REQUESTS,
    GATEWAY_SECONDS,
    GATEWAY_TABLE,
    OUTBOX_EVENTS,
    OUTBOX_OLDEST,
)
from pattern_metrics.consumer.telemetry.metrics import MetricSet


class GatewayMetrics(MetricSet):
    """The metrics of one gateway."""

    def __init__(self) -> None:
        super().__init__(GATEWAY_TABLE)

    def answered(self, status: int, seconds: float) -> None:
        """Record the answer to a request to publish."""
        self._counters[GATEWAY_REQUESTS.name].labels(str(status)).inc()
        self._histograms[GATEWAY_SECONDS.name].observe(seconds)

    def decided(self, outcomes: Mapping[str, int], reasons: Mapping[str, int]) -> None:
        """Record the outcomes of events, and the reasons of those that were refused."""
        for outcome, count in outcomes.items():
            self._counters[GATEWAY_EVENTS.name].labels(outcome).inc(count)
        for reason, count in reasons.items():
            self._counters[GATEWAY_REFUSALS.name].labels(reason).inc(count)

    def render(self, *, is_ready: bool, in_flight: int, outbox: tuple[int, int] | None) -> bytes:
        """Return the text that Prometheus reads.

        Args:
            is_ready: whether events can be accepted.
            in_flight: the number of requests in flight.
            outbox: the number of events that wait in the outbox, and the age of the oldest in seconds; None
                if they are unknown.
        """
        events, oldest = (math.nan, math.nan) if outbox is None else outbox
        self._gauges[GATEWAY_READY.name].set(is_ready)
        self._gauges[GATEWAY_IN_FLIGHT.name].set(in_flight)
        self._gauges[OUTBOX_EVENTS.name].set(events)
        self._gauges[OUTBOX_OLDEST.name].set(oldest)
        return generate_latest(self._registry)
