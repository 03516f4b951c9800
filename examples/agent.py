"""An agent that scores one pattern and publishes the score. Settings come from the environment."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

from pattern_metrics import PatternScored, PublishError, ScorePublisher, pattern_id_of


async def report(publisher: ScorePublisher, name: str, score: float) -> None:
    """Publish one measurement. A retry repeats the event_id, because it is created once."""
    event = PatternScored(
        event_id=uuid4(),
        pattern_id=pattern_id_of(name),  # as the scorer names it: module:qualified_name
        quality_score=score,
        confidence=0.9,
        measurement_timestamp=datetime.now(UTC),
        metadata={"name": name, "dimensions": {"documentation": 0.8}},
    )
    try:
        await publisher.publish(event)
    except PublishError:  # not acknowledged within 30 s: publishing the same event again is safe
        await publisher.publish(event)


async def main() -> None:
    """Open one publisher, and share it between all tasks."""
    async with ScorePublisher() as publisher:
        scores = {"shop.cart:total": 0.82, "shop.cart:Cart.add": 0.74}
        await asyncio.gather(*(report(publisher, name, score) for name, score in scores.items()))


asyncio.run(main())
