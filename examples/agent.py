"""An agent that scores patterns and publishes the scores. Settings come from the environment."""

import asyncio

from pattern_metrics import PublishError, ScorePublisher


async def report(publisher: ScorePublisher, name: str, score: float) -> None:
    """Publish one score. Its event is made once, so that to publish the event again is a retry."""
    try:
        await publisher.publish_score(
            pattern=name,  # as the scorer names it: module:qualified_name
            quality_score=score,
            confidence=0.9,
            dimensions={"documentation": 0.8},
        )
    except PublishError as error:
        if error.refused:  # it is too large, for example: no retry helps
            raise
        await publisher.publish_many(error.unacknowledged)  # after 30 s without an acknowledgement


async def main() -> None:
    """Open one publisher, and share it between all tasks."""
    async with ScorePublisher() as publisher:
        scores = {"shop.cart:total": 0.82, "shop.cart:Cart.add": 0.74}
        await asyncio.gather(*(report(publisher, name, score) for name, score in scores.items()))


asyncio.run(main())
