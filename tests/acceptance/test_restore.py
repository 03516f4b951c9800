"""A database that was restored from a backup by pg_dump and pg_restore is caught up by the worker itself."""

from pathlib import Path

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.pipeline import an_event, execute, expected_table, table
from tests.support.postgres import wheel_program
from tests.support.topics import recreate_topic
from tests.support.waiting import eventually

EARLY = [an_event(number, seconds=number, score=0.2) for number in range(1, 60)]
LATE = [an_event(number, seconds=1000 + number, score=0.8) for number in range(30, 90)]
HOSTILE = b'{"no": "event"}'


async def publish(command: CommandLine, events: list[PatternScored]) -> None:
    lines = b"\n".join(event.to_json() for event in events)
    (await command.run("publish", "-", stdin=lines)).succeeded()


async def back_up(command: CommandLine, settings: WorkerSettings, file: Path) -> None:
    url = settings.database_url.get_secret_value()
    (
        await command.run_program(
            wheel_program("pg_dump"), "--format=custom", "--file", file, "--dbname", url
        )
    ).succeeded()


async def restore(command: CommandLine, settings: WorkerSettings, file: Path) -> None:
    url = settings.database_url.get_secret_value()
    options = ("--clean", "--if-exists", "--single-transaction", "--dbname", url)
    (await command.run_program(wheel_program("pg_restore"), *options, file)).succeeded()


async def test_records_that_a_backup_lacks_are_read_again_although_offsets_are_ahead(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    await publish(command, EARLY)
    (await command.run("consume", "--until-caught-up")).succeeded()
    await back_up(command, settings, file)
    await publish(command, LATE)
    (await command.run("consume", "--until-caught-up")).succeeded()

    await restore(command, settings, file)
    as_restored = await table(settings)
    caught_up = (await command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert as_restored == expected_table(EARLY)
    assert caught_up.json == {"read": len(LATE), "applied": len(LATE), "superseded": 0, "dead_letters": 0}
    assert await table(settings) == expected_table([*EARLY, *LATE])
    (await command.run("verify", "--against-topic", "--strict")).succeeded()


async def test_a_database_restored_under_an_idle_worker_is_caught_up_without_a_restart(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    """Nothing is published after the restore, so no batch reveals it to the worker."""
    file = tmp_path / "backup"
    async with command.worker() as worker:

        async def holds(events: list[PatternScored]) -> bool:
            return await table(settings) == expected_table(events)

        await publish(command, EARLY)
        await eventually(lambda: holds(EARLY), deadline_seconds=SECONDS_MAX)
        await back_up(command, settings, file)
        await publish(command, LATE)
        await eventually(lambda: holds([*EARLY, *LATE]), deadline_seconds=SECONDS_MAX)

        await restore(command, settings, file)
        await eventually(lambda: holds([*EARLY, *LATE]), deadline_seconds=SECONDS_MAX)

        assert worker.events("database_went_back")
        assert await worker.terminate() == 0


async def test_a_recreated_database_is_filled_from_the_topic(
    command: CommandLine, settings: WorkerSettings
) -> None:
    await publish(command, [*EARLY, *LATE])
    (await command.run("consume", "--until-caught-up")).succeeded()

    await execute(settings, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    (await command.run("migrate", "up")).succeeded()
    (await command.run("consume", "--until-caught-up")).succeeded()

    assert await table(settings) == expected_table([*EARLY, *LATE])


async def test_a_database_from_before_the_topic_was_recreated_is_caught_up(
    real_command: CommandLine, real_settings: WorkerSettings, tmp_path: Path
) -> None:
    """Its progress is ahead of the group's committed offsets, and belongs to another log."""
    command, settings, file = real_command, real_settings, tmp_path / "backup"
    await recreate_topic(settings, partitions=1)
    await publish(command, EARLY)
    (await command.run("consume", "--until-caught-up")).succeeded()
    await back_up(command, settings, file)
    await recreate_topic(settings, partitions=1)
    await publish(command, LATE[:20])
    (await command.run("consume", "--until-caught-up")).succeeded()

    await restore(command, settings, file)
    before = await command.run("verify", "--against-topic")
    caught_up = (await command.run("consume", "--until-caught-up", "--json", log_format="json")).succeeded()

    assert before.code == 1
    assert (
        b"partition 0 has records, and this group (KAFKA_GROUP_ID) no progress in this topic" in before.stdout
    )
    assert caught_up.json["read"] == 20
    assert "new_topic_id" in caught_up.stderr
    assert await table(settings) == expected_table([*EARLY, *LATE[:20]])
    (await command.run("verify", "--against-topic")).succeeded()


async def test_a_worker_under_which_database_and_topic_change_at_once_notices_both(
    real_command: CommandLine, real_settings: WorkerSettings, tmp_path: Path
) -> None:
    """The topic is recreated, and filled beyond the worker's position, before the worker checks it again."""
    command, settings, file = real_command, real_settings, tmp_path / "backup"
    await recreate_topic(settings, partitions=1)

    async def holds(events: list[PatternScored]) -> bool:
        return await table(settings) == expected_table(events)

    async with command.worker() as worker:
        await publish(command, EARLY[:10])
        await eventually(lambda: holds(EARLY[:10]), deadline_seconds=SECONDS_MAX)
        await back_up(command, settings, file)

        worker.freeze()
        await recreate_topic(settings, partitions=1)
        await publish(command, LATE)
        worker.thaw()
        await eventually(lambda: holds([*EARLY[:10], *LATE]), deadline_seconds=SECONDS_MAX)

        await restore(command, settings, file)
        await eventually(lambda: holds([*EARLY[:10], *LATE]), deadline_seconds=SECONDS_MAX)
        assert await worker.terminate() == 0
