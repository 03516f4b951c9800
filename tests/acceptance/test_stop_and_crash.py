"""The worker's end, intended or not: nothing is lost, and nothing is done twice."""

import asyncio
import random
from urllib.parse import urlsplit

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.pipeline import an_event, committed_offsets, expected_table, progress, table
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

PATTERNS = 40

COPY = b'COPY "pattern_quality_metrics"'
"""Part of the statement that writes the rows of new patterns."""


async def test_a_kill_between_write_and_commit_loses_nothing_and_writes_nothing_twice(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    settings = real_settings
    events = [an_event(pattern) for pattern in range(PATTERNS)]
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(events)
    database_url = settings.database_url.get_secret_value()
    port = urlsplit(database_url).port or 0
    seen = b""

    async with Proxy(port) as proxy:
        by_detour = database_url.replace(f":{port}/", f":{proxy.port}/")
        async with real_command.worker(database_url=by_detour) as worker:

            def freeze_at_the_commit(chunk: bytes) -> bytes:
                """Freeze it, so that the worker never learns that its transaction has committed."""
                nonlocal seen
                seen += chunk
                if COPY in seen and b"COMMIT" in chunk:
                    worker.freeze()
                return chunk

            proxy.censor(freeze_at_the_commit)
            await eventually(lambda: table(settings), deadline_seconds=SECONDS_MAX)
            await worker.kill()
    written = await table(settings)
    committed = await committed_offsets(settings)
    ahead = {partition for partition, offset in (await progress(settings)).items() if offset}
    consumed = (await real_command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert written
    assert ahead
    assert all(committed.get(partition, 0) == 0 for partition in ahead)
    assert consumed.json["read"] == PATTERNS  # also the written records: Kafka does not know of them
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
        await worker.wait_until_read(5 * 25)
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
