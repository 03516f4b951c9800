"""The agents' side: score code, and publish one event per measurement."""

from pattern_metrics.publisher.client import BlockingScorePublisher, PublishError, ScorePublisher

__all__ = ["BlockingScorePublisher", "PublishError", "ScorePublisher"]
