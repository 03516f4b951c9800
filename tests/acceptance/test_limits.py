"""Large records, many partitions, one-sided batches, long backlogs: nothing is lost, memory is bounded."""

import asyncio
import sys
import uuid
from collections.abc import Iterable
from typing import Any

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import PROGRAM, CommandLine
from tests.support.kafka import create_topic
from tests.support.pipeline import an_event, dead_letters, expected_table, producing, table

MEGABYTE = 1_000_000
"""The default limit of a broker, with key and headers (message.max.bytes, 1,048,588)."""

BATCH = 10_000


async def send_many(
    settings: WorkerSettings, values: Iterable[bytes], partitions: int = 1, **options: object
) -> None:
    async with producing(
        settings, linger_ms=20, max_batch_size=MEGABYTE, max_request_size=2 * MEGABYTE, **options
    ) as producer:
        acknowledgements = list[asyncio.Future[object]]()
        for number, value in enumerate(values):
            acknowledgements.append(
                await producer.send(settings.kafka_topic, value, partition=number % partitions)
            )
        await asyncio.wait(acknowledgements)


async def test_records_of_a_megabyte_are_stored_or_dead_lettered_with_their_bytes(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    event = an_event(1)
    valid = event.to_json()[:-1] + b',"unknown":"' + b"x" * MEGABYTE + b'"}'
    hostile = [b"\xff" * MEGABYTE, b"[" * MEGABYTE, event.to_json()[:-1] + b',"a":' + b"9" * MEGABYTE + b"}"]
    await send_many(real_settings, [hostile[0], valid, *hostile[1:]])

    (await real_command.run("consume", "--until-caught-up")).succeeded()

    assert await table(real_settings) == expected_table([event])
    letters = await dead_letters(real_settings)
    assert [value for value, _ in letters] == hostile


async def test_a_worker_takes_partitions_by_the_hundred(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    partitions = 200
    topic = await create_topic(real_settings.kafka_bootstrap_servers, partitions)
    settings = real_settings.model_copy(update={"kafka_topic": topic})
    events = [an_event(number) for number in range(2 * partitions)]
    await send_many(settings, (event.to_json() for event in events), partitions)

    finished = (
        await real_command.run("consume", "--until-caught-up", "--json", kafka_topic=topic)
    ).succeeded()
    status = (await real_command.run("status", "--json", kafka_topic=topic)).succeeded()

    assert finished.json["applied"] == len(events)
    assert await table(settings) == expected_table(events)
    assert (status.json["lag"], len(status.json["partitions"])) == (0, partitions)


async def test_a_batch_all_of_one_pattern_becomes_one_row(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    events = [an_event(1, seconds=number * 7919 % BATCH, score=number / BATCH) for number in range(BATCH)]
    await send_many(real_settings, (event.to_json() for event in events))

    finished = (await real_command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert await table(real_settings) == expected_table(events)
    assert finished.json["read"] == BATCH
    assert finished.json["superseded"] == BATCH - finished.json["applied"]


async def test_a_batch_all_of_dead_letters_is_stored_whole(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    values = [f"poison {number}".encode() for number in range(BATCH - 1)]
    await send_many(real_settings, values)

    finished = (await real_command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert finished.json == {"read": len(values), "applied": 0, "superseded": 0, "dead_letters": len(values)}
    assert [value for value, _ in await dead_letters(real_settings)] == values


@pytest.mark.long
async def test_memory_does_not_grow_with_the_backlog(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    peaks = [
        await peak_memory(real_command, real_settings, list(backlog_of(backlog)), batch_max_records=1000)
        for backlog in (30_000, 120_000)
    ]

    assert peaks[1] < peaks[0] * 1.25, f"KiB: {peaks}"


async def test_memory_does_not_grow_with_the_size_of_what_was_compressed(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    """A fetch is limited in compressed bytes: here the producer compressed all of it to 60 kB."""
    large = {"text": "lorem ipsum " * 5000}
    peaks = [
        await peak_memory(
            real_command,
            real_settings,
            [an_event(number, metadata=large).to_json() for number in range(count)],
            compression_type="gzip",
        )
        for count in (400, 3200)
    ]

    assert peaks[1] < peaks[0] * 1.5, f"KiB: {peaks}"


async def peak_memory(
    command: CommandLine,
    settings: WorkerSettings,
    values: list[bytes],
    compression_type: str | None = None,
    **overrides: Any,
) -> int:
    """Return the peak memory in KiB of a worker that reads a topic of these values."""
    topic = await create_topic(settings.kafka_bootstrap_servers)
    settings = settings.model_copy(update={"kafka_topic": topic})
    await send_many(settings, values, partitions=3, compression_type=compression_type)

    finished = await command.run_program(
        *MEASURED, PROGRAM, "consume", "--until-caught-up", "--json", kafka_topic=topic, **overrides
    )

    assert finished.succeeded().json["read"] == len(values)
    return int(finished.stderr.splitlines()[-1])


def backlog_of(count: int) -> Iterable[bytes]:
    template = an_event(1).to_json()
    pattern_id = str(an_event(1).pattern_id).encode()
    return (template.replace(pattern_id, str(uuid.UUID(int=number)).encode()) for number in range(count))


MEASURED = (
    sys.executable,
    "-c",
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)",
)
"""Runs a command, then prints its peak memory in KiB on stderr."""
