"""Score code patterns, publish each measurement, and keep one current row per pattern.

The names below are the public ones. Each is loaded when it is first used, so that a model needs no Kafka
client and a publisher no database driver.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pattern_metrics.consumer.operations.backfill import store_quality_metrics
    from pattern_metrics.publisher.client import (
        BlockingScorePublisher,
        Published,
        PublishError,
        RefusedEvent,
        ScorePublisher,
    )
    from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
    from pattern_metrics.schemas.pattern_id import pattern_id_of
    from pattern_metrics.schemas.pattern_retired import PatternRetired
    from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

    __version__: str

__all__ = [
    "BlockingScorePublisher",
    "InvalidEventError",
    "Measurement",
    "PatternRetired",
    "PatternScored",
    "PublishError",
    "Published",
    "RefusedEvent",
    "RejectReason",
    "ScorePublisher",
    "__version__",
    "pattern_id_of",
    "store_quality_metrics",
]

_HOMES: Final = {
    "BlockingScorePublisher": "publisher.client",
    "InvalidEventError": "schemas.dead_letter",
    "Measurement": "schemas.pattern_scored",
    "PatternRetired": "schemas.pattern_retired",
    "PatternScored": "schemas.pattern_scored",
    "PublishError": "publisher.client",
    "Published": "publisher.client",
    "RefusedEvent": "publisher.client",
    "RejectReason": "schemas.dead_letter",
    "ScorePublisher": "publisher.client",
    "pattern_id_of": "schemas.pattern_id",
    "store_quality_metrics": "consumer.operations.backfill",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each public name has a type of its own
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("pattern-metrics")
    elif name in _HOMES:
        value = getattr(_home(name), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _home(name: str) -> ModuleType:
    try:
        return import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        from pattern_metrics.schemas import extras

        if advice := extras.advice(error, name):
            raise ModuleNotFoundError(advice, name=error.name) from error
        raise


def __dir__() -> list[str]:
    return __all__
