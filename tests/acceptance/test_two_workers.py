"""Two workers of one group share the topic. When one ends in any way, the other takes over."""

from collections.abc import Awaitable, Callable

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess
from tests.support.load import PARTITIONS, WATCH_FOR_STEPS_BACK, Load, is_shared
from tests.support.pipeline import dead_letters, execute, expected_table, fetch, table
from tests.support.waiting import eventually


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
                await other.wait_until_read(3 * 50)
                await end(other)
            await eventually(lambda: one.partitions == PARTITIONS, deadline_seconds=SECONDS_MAX)
            await load.wait_for_more()
        await eventually(load.is_written, deadline_seconds=SECONDS_MAX)
        assert await one.terminate() == 0

    assert await table(settings) == expected_table(load.events)
    assert sorted(await dead_letters(settings)) == sorted((value, "invalid_json") for value in load.poison)
    assert await fetch(settings, "SELECT * FROM steps_back") == []
