"""The worker's end, wanted and unwanted: nothing is lost, nothing is done twice."""

import asyncio
import random

import asyncpg

from consumer.settings import WorkerSettings
from publisher import ScorePublisher
from schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.pipeline import an_event, committed_offsets, execute, expected_table, progress, table
from tests.support.waiting import eventually

PATTERNS = 40

# COMMIT itself waits for the test: what a constraint trigger deferred to the end of the transaction does.
HOLD_COMMITS = """
CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hold_commit AFTER UPDATE ON ingest_progress DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION wait_for_the_test();
"""


async def test_a_kill_between_write_and_commit_loses_nothing_and_writes_nothing_twice(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    command, settings = real_command, real_settings
    await execute(settings, HOLD_COMMITS)
    events = [an_event(pattern) for pattern in range(PATTERNS)]
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(events)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    await connection.execute("SELECT pg_advisory_lock(1)")
    blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

    async with command.worker() as worker:
        await eventually(lambda: connection.fetchval(blocked), deadline_seconds=SECONDS_MAX)
        worker.freeze()  # it never learns that its transaction has committed
        await connection.execute("SELECT pg_advisory_unlock(1)")
        await eventually(lambda: table(settings), deadline_seconds=SECONDS_MAX)
        await worker.kill()
    await connection.close()
    written = await table(settings)
    committed = await committed_offsets(settings)
    ahead = {partition for partition, offset in (await progress(settings)).items() if offset}
    consumed = (await command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert written
    assert ahead
    assert all(committed.get(partition, 0) == 0 for partition in ahead)
    assert consumed.json["read"] == PATTERNS  # also what is written already: Kafka does not know that
    assert consumed.json["applied"] == PATTERNS - len(written)
    assert await table(settings) == expected_table(events)
    assert await committed_offsets(settings) == await progress(settings)


async def test_a_stop_under_load_is_clean_and_the_rest_is_read_later(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    command, settings = real_command, real_settings
    events = list[PatternScored]()
    chance = random.Random(11)

    async def publish() -> None:
        async with ScorePublisher(settings) as publisher:
            while True:
                part = [an_event(chance.randrange(PATTERNS), chance.randrange(9)) for _ in range(20)]
                events.extend(part)
                await asyncio.shield(publisher.publish_many(part))

    publishing = asyncio.create_task(publish())
    async with command.worker(batch_max_records=25) as worker:
        await worker.wait_for_event("batch_written", count=5)
        code = await worker.terminate()
        stopped = worker.events("worker_stopped")
    at_stop = len(events)
    await eventually(lambda: len(events) > at_stop + 100, deadline_seconds=SECONDS_MAX)
    publishing.cancel()
    await asyncio.wait({publishing})
    offsets = await committed_offsets(settings)
    consumed = (await command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert code == 0
    assert len(stopped) == 1
    assert sum(offsets.values()) == stopped[0]["read"]
    assert stopped[0]["read"] + consumed.json["read"] == len(events)
    assert consumed.json["read"] > 100
    assert await table(settings) == expected_table(events)
    assert await committed_offsets(settings) == await progress(settings)
