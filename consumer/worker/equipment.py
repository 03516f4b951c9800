"""Objects that the sessions of a worker share."""

from collections.abc import Sequence
from dataclasses import dataclass

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Breaker
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import Stop
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing


@dataclass(frozen=True, slots=True)
class Equipment:
    """Objects that outlive a session.

    Attributes:
        settings: the worker's settings.
        stores: the worker's connections to PostgreSQL.
        stop: the request to stop, and its deadline.
        health: the conditions under which the worker is not ready.
        breaker: guards the table of dead letters.
        metrics: the worker's counts.
        timing: the limits of everything that waits.
        clock: the clock for these limits.
    """

    settings: WorkerSettings
    stores: Sequence[Store]
    stop: Stop
    health: Health
    breaker: Breaker
    metrics: Metrics
    timing: Timing = TIMING
    clock: Clock = CLOCK
