"""The limit for agents' clocks that are ahead: one setting for publishers and consumers."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from pattern_metrics.schemas.settings.kafka import KafkaSettings


class ClockSettings(BaseSettings):
    """The limit for agents' clocks that are ahead."""

    model_config = KafkaSettings.model_config

    max_clock_skew_seconds: Annotated[int, Field(ge=0, le=366 * 24 * 3600)] = Field(
        default=300, description="Seconds a measurement may lie in the future."
    )

    def accepted_until(self) -> datetime:
        """Return the latest acceptable measurement time, as of now."""
        return datetime.now(UTC) + timedelta(seconds=self.max_clock_skew_seconds)
