"""Workers of the previous release and of this one share a group and a database, as the upgrade guide says."""

import io
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.platforms.versions import PREVIOUS_RELEASE
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.installation import ROOT
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import an_event, dead_letters, expected_table, send, table, worker_settings
from tests.support.waiting import eventually

PATTERNS = 10

LAST_BEFORE_022 = "021"
"""The guide: a worker of a release before 022 needs it."""


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The code of the previous release."""
    packed = subprocess.run(["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, check=False, capture_output=True)
    if packed.returncode != 0:
        pytest.skip(f"this clone lacks the commit {PREVIOUS_RELEASE} of the previous release")
    code = tmp_path / "previous"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(code, filter="data")
    return code


class Scene:
    """A topic that grows, and the table that it should make."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._events = list[PatternScored]()

    async def publish(self) -> None:
        """Publish a newer event of each pattern, half of them to each partition."""
        seconds = len(self._events)
        for partition in (0, 1):
            patterns = range(partition, PATTERNS, 2)
            events = [an_event(number, seconds=seconds + number) for number in patterns]
            self._events += events
            await send(self._settings, [event.to_json() for event in events], partition)

    async def is_complete(self) -> bool:
        return await table(self._settings) == expected_table(self._events)

    async def wait(self) -> None:
        """Wait until the table has each event that was published."""
        await eventually(self.is_complete, deadline_seconds=SECONDS_MAX)
        assert not await dead_letters(self._settings)


@pytest.fixture
async def settings(apache_kafka: Broker, database_url: str) -> WorkerSettings:
    topic = await create_topic(apache_kafka.bootstrap_servers, partitions=2)
    return worker_settings(apache_kafka.bootstrap_servers, topic, database_url)


async def test_an_upgrade_and_its_way_back_roll_through_the_workers(
    settings: WorkerSettings, previous: Path, tmp_path: Path
) -> None:
    scene = Scene(settings)
    new = CommandLine(tmp_path, environment_of(settings))
    old = replace(
        new,
        program=(sys.executable, "-m", "pattern_metrics"),
        environment={**new.environment, "PYTHONPATH": str(previous)},
    )
    (await old.run_program(*old.program, "migrate", "up")).succeeded()
    async with old.worker() as old_worker:
        await scene.publish()
        await scene.wait()
        migrated = (await new.run("migrate", "up")).succeeded()
        assert migrated.stdout.startswith(b"applied 020, ")
        await scene.publish()
        await scene.wait()  # the old worker continues on the new schema
        async with new.worker() as new_worker:
            await new_worker.wait_for_event("partitions_assigned")
            await scene.publish()
            assert await old_worker.terminate() == 0
            await scene.publish()
            await scene.wait()
            (await new.run("verify", "--against-topic", "--strict")).succeeded()

            (await new.run("migrate", "down", LAST_BEFORE_022, "--yes")).succeeded()
            await scene.publish()
            async with old.worker() as returned:
                await returned.wait_for_event("partitions_assigned")
                assert await new_worker.terminate() == 0
                await scene.publish()
                await scene.wait()
                verified = await old.run_program(*old.program, "verify", "--against-topic", "--strict")
                verified.succeeded()
                assert await returned.terminate() == 0
