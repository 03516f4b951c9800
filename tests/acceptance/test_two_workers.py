"""Two workers of one group share the topic; when one ends, however it ends, the other takes over."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from consumer.settings import WorkerSettings
from publisher import ScorePublisher
from schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess
from tests.support.pipeline import an_event, dead_letters, execute, expected_table, fetch, producing, table
from tests.support.waiting import eventually

PARTITIONS = {0, 1, 2}
PATTERNS = 30

WATCH_FOR_STEPS_BACK = """
CREATE TABLE steps_back (pattern_id uuid);
CREATE FUNCTION note_step_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO steps_back VALUES (NEW.pattern_id);
    RETURN NULL;
END $$;
CREATE TRIGGER note_step_back AFTER UPDATE ON pattern_quality_metrics FOR EACH ROW
WHEN ((NEW.measurement_timestamp, NEW.event_id) < (OLD.measurement_timestamp, OLD.event_id))
EXECUTE FUNCTION note_step_back();
"""


class Load:
    """Publishes measurements in no order, and a little poison, to all partitions."""

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

    async def wait_for_more(self) -> None:
        wanted = len(self.poison) + 10
        await eventually(lambda: len(self.poison) >= wanted, deadline_seconds=SECONDS_MAX)

    async def is_written(self) -> bool:
        [row] = await fetch(self._settings, "SELECT sum(next_offset) FROM ingest_progress")
        return int(row["sum"]) == len(self.events) + len(self.poison)


def is_shared(one: WorkerProcess, other: WorkerProcess) -> bool:
    return (
        min(len(one.partitions), len(other.partitions)) > 0
        and one.partitions.isdisjoint(other.partitions)
        and one.partitions | other.partitions == PARTITIONS
    )


async def test_of_two_workers_one_is_stopped_and_the_other_takes_over(
    command: CommandLine, settings: WorkerSettings
) -> None:
    await take_over(command, settings, WorkerProcess.terminate)


async def test_of_two_workers_one_is_killed_and_the_other_takes_over(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    await take_over(real_command, real_settings, WorkerProcess.kill)


async def take_over(
    command: CommandLine, settings: WorkerSettings, end: Callable[[WorkerProcess], Awaitable[object]]
) -> None:
    await execute(settings, WATCH_FOR_STEPS_BACK)
    load = Load(settings)

    async with command.worker(batch_max_records=50) as one:
        async with load.running():
            await eventually(lambda: one.partitions == PARTITIONS, deadline_seconds=SECONDS_MAX)
            async with command.worker(batch_max_records=50) as other:
                await eventually(lambda: is_shared(one, other), deadline_seconds=SECONDS_MAX)
                await other.wait_for_event("batch_written", count=3)
                await end(other)
            await eventually(lambda: one.partitions == PARTITIONS, deadline_seconds=SECONDS_MAX)
            await load.wait_for_more()
        await eventually(load.is_written, deadline_seconds=SECONDS_MAX)
        assert await one.terminate() == 0

    assert await table(settings) == expected_table(load.events)
    assert sorted(await dead_letters(settings)) == sorted((value, "invalid_json") for value in load.poison)
    assert await fetch(settings, "SELECT * FROM steps_back") == []
