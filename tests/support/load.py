"""Publishers that run while a test does something else, and a trigger that watches the table."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, WorkerProcess
from tests.support.pipeline import an_event, fetch, producing
from tests.support.waiting import eventually

PARTITIONS = {0, 1, 2}
PATTERNS = 30
PAUSE_SECONDS = 0.02

WATCH_FOR_STEPS_BACK = """
CREATE TABLE steps_back (pattern_id uuid);
CREATE FUNCTION note_step_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO steps_back VALUES (NEW.pattern_id);
    RETURN NULL;
END $$;
CREATE TRIGGER note_step_back AFTER UPDATE ON pattern_quality_metrics FOR EACH ROW
WHEN (((NEW.measurement_timestamp, NEW.event_id) > (OLD.measurement_timestamp, OLD.event_id)) IS NOT TRUE)
EXECUTE FUNCTION note_step_back();
"""
"""Records each update that does not make its row newer."""


class Load:
    """Publishes measurements in random order, and a few invalid records, to all partitions."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.events = list[PatternScored]()
        self.poison = list[bytes]()
        self._settings = settings

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ended = asyncio.Event()
        task = asyncio.create_task(self._publish(ended))
        try:
            yield
        finally:
            ended.set()
            await task

    async def _publish(self, ended: asyncio.Event) -> None:
        chance = random.Random(13)
        async with ScorePublisher(self._settings) as publisher, producing(self._settings) as producer:
            while not ended.is_set():
                part = [an_event(chance.randrange(PATTERNS), chance.randrange(100)) for _ in range(10)]
                await publisher.publish_many(part)
                self.events += part
                poison = f"poison {len(self.poison)}".encode()
                await producer.send_and_wait(
                    self._settings.kafka_topic, poison, partition=len(self.poison) % len(PARTITIONS)
                )
                self.poison.append(poison)
                with suppress(TimeoutError):  # leave some CPU to the others
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await ended.wait()

    async def wait_for_more(self) -> None:
        wanted = len(self.poison) + 10
        await eventually(lambda: len(self.poison) >= wanted, deadline_seconds=SECONDS_MAX)

    async def is_written(self) -> bool:
        [row] = await fetch(self._settings, "SELECT sum(next_offset) FROM ingest_progress")
        return int(row["sum"]) == len(self.events) + len(self.poison)


def is_shared(one: WorkerProcess, other: WorkerProcess) -> bool:
    """Return whether two workers have all partitions between them, and none in common."""
    return (
        min(len(one.partitions), len(other.partitions)) > 0
        and one.partitions.isdisjoint(other.partitions)
        and one.partitions | other.partitions == PARTITIONS
    )
