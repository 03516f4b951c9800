"""The types of the public names, for mypy. Nobody runs this."""

from collections.abc import Coroutine, Sequence
from typing import Any, assert_type
from uuid import UUID

from pydantic import JsonValue

import pattern_metrics
from pattern_metrics import (
    BlockingScorePublisher,
    InvalidEventError,
    Measurement,
    PatternRetired,
    PatternScored,
    Published,
    PublishError,
    RefusedEvent,
    RejectReason,
    ScorePublisher,
    __version__,
    pattern_id_of,
    store_quality_metrics,
)
from pattern_metrics.consumer.records.accounting import Accounting

assert_type(pattern_metrics.__version__, str)
assert_type(__version__, str)
assert_type(pattern_id_of("billing:Invoice.total"), UUID)
assert_type(pattern_metrics.PatternScored, type[PatternScored])


def refused(error: InvalidEventError) -> None:
    assert_type(error.reason, RejectReason)
    assert_type(error.field, str | None)


def lost(error: PublishError) -> None:
    assert_type(error.unacknowledged, tuple[PatternScored | PatternRetired, ...])
    assert_type(error.refused, tuple[RefusedEvent, ...])


def blocking(publisher: BlockingScorePublisher, event: PatternScored) -> None:
    with publisher as entered:
        assert_type(entered, BlockingScorePublisher)
        assert_type(entered.publish_many([event]), list[Published])
        entered.publish_score(pattern="shop.cart:total", quality_score=0.8, confidence=1)


async def asynchronous(measurements: Sequence[Measurement], event: PatternScored) -> None:
    async with ScorePublisher() as publisher:
        assert_type(publisher, ScorePublisher)
        await assert_type(publisher.publish(event), Coroutine[Any, Any, Published])
    assert_type(event.quality_score, float)
    assert_type(measurements[0].metadata["name"], JsonValue)
    assert_type(await store_quality_metrics("postgresql://", measurements), Accounting)
