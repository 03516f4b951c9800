"""Two workers of a group with one KAFKA_GROUP_INSTANCE_ID: one reads, and the other one stays out."""

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess
from tests.support.pipeline import an_event, expected_table, send, table
from tests.support.waiting import eventually, hold

CALM_SECONDS = 8.0
"""Longer than two heartbeats: a worker that contends would join again several times."""


async def test_of_two_workers_with_one_name_the_first_stays_out_until_the_name_is_free(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    command, name = real_command, {"kafka_group_instance_id": "worker-0"}
    events = [an_event(number) for number in range(4)]

    async def publish(count: int) -> None:
        """Publish one more event to each partition, and wait for its row."""
        for partition in range(3):
            await send(real_settings, [events[count].to_json()], partition)

        async def is_written() -> bool:
            return await table(real_settings) == expected_table(events[: count + 1])

        await eventually(is_written, deadline_seconds=SECONDS_MAX)

    async with command.worker(**name) as first:
        await publish(0)
        async with command.worker(**name) as second:
            refused = await first.wait_for_event("not_ready", error="DuplicateInstanceError")
            await publish(1)
            await hold(CALM_SECONDS)
            await publish(2)
            joined = [len(worker.events("partitions_assigned")) for worker in (first, second)]
            assert await second.terminate() == 0
        await publish(3)
        assert await first.terminate() == 0

    assert refused["hint"].startswith("KAFKA_GROUP_INSTANCE_ID: ")
    assert joined == [1, 1]
    for worker in (first, second):
        assert read_again(worker) == []


def read_again(worker: WorkerProcess) -> list[str]:
    warnings = ("database_went_back", "topic_recreated", "group_offset_forgotten", "client_rebuilt")
    return [warning for warning in warnings if worker.events(warning)]
