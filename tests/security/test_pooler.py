"""PostgreSQL behind PgBouncer: everything works through it, and its refusals are reported in its words."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.demo.embedded import EmbeddedBroker, PostgresServer
from pattern_metrics.consumer.settings import WorkerSettings
from tests.security.conftest import PASSWORD, WRONG_PASSWORD, assert_check_refuses, publish
from tests.support.command import CommandLine, environment_of
from tests.support.kafka import create_topic
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.pooler import PgBouncer
from tests.support.postgres import TEMPLATE, new_database


@pytest.fixture(scope="module")
def pooler(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgres_server, PASSWORD) as pooler:
        yield pooler


@dataclass(frozen=True)
class Scene:
    """The pooler, and the settings by which the test bypasses it."""

    pooler: PgBouncer
    settings: WorkerSettings
    directory: Path

    @property
    def database(self) -> str:
        return self.settings.database_url.get_secret_value().rpartition("/")[2]

    def command(self, database_url: str) -> CommandLine:
        return CommandLine(self.directory, environment_of(self.settings) | {"DATABASE_URL": database_url})


@pytest.fixture
async def scene(
    pooler: PgBouncer,
    postgres_server: PostgresServer,
    embedded_broker: EmbeddedBroker,
    tmp_path: Path,
) -> AsyncIterator[Scene]:
    async with new_database(postgres_server, TEMPLATE) as database_url:
        servers = embedded_broker.bootstrap_servers
        settings = worker_settings(servers, await create_topic(servers), database_url)
        yield Scene(pooler, settings, tmp_path)


@pytest.mark.parametrize("parameters", ["", "?search_path=public&statement_timeout=20s"])
async def test_every_command_works_through_a_pooler(scene: Scene, parameters: str) -> None:
    command = scene.command(scene.pooler.url(scene.database) + parameters)
    event, other = await publish(scene.settings), an_event(2)

    for arguments in (["migrate", "up"], ["migrate", "status"], ["consume", "--check"]):
        (await command.run(*arguments)).succeeded()
    (await command.run("consume", "--until-caught-up", history_enabled=True)).succeeded()
    (await command.run("dead-letters", "list")).succeeded()
    (await command.run("status")).succeeded()
    (await command.run("replay", "--dry-run")).succeeded()
    (await command.run("backfill", "-", stdin=other.to_json())).succeeded()
    (await command.run("export")).succeeded()

    assert await table(scene.settings) == expected_table([event, other])


async def test_the_page_reads_through_a_pooler(scene: Scene) -> None:
    page = Database(scene.pooler.url(scene.database))
    rows = await page.fetch("SELECT current_setting('default_transaction_read_only')")
    page.close()

    assert [row[0] for row in rows] == ["on"]


FAULTS = {
    "password": (WRONG_PASSWORD, "", "", "password authentication failed"),
    "database": (PASSWORD, "_missing", "", "does not exist"),
    "parameter": (PASSWORD, "", "?options=-c%20geqo%3Doff", "unsupported startup parameter: options"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_poolers_refusal_is_reported_in_its_words(scene: Scene, name: str) -> None:
    password, suffix, parameters, said = FAULTS[name]
    command = scene.command(scene.pooler.url(scene.database + suffix, password) + parameters)

    await assert_check_refuses(command, said)
    async with command.worker() as worker:
        reported = await worker.wait_for_event("not_ready", component="postgresql")
        assert worker.is_running

    assert said in reported["said"]
    assert f"127.0.0.1:{scene.pooler.port}" in reported["said"]
    assert "check the user, the password, the database and `options` in DATABASE_URL" in reported["hint"]
    assert "hunter2" not in worker.log.read_text()


async def test_a_pooler_in_transaction_mode_is_named_as_the_reason(
    scene: Scene, postgres_server: PostgresServer
) -> None:
    with PgBouncer(postgres_server, PASSWORD, mode="transaction") as pooler:
        command = scene.command(pooler.url(scene.database))
        await command.run("status")  # its prepared statements stay in the server's session
        refused = [
            await command.run(*arguments)
            for arguments in (["consume", "--check"], ["status"], ["verify"], ["migrate", "status"])
        ]

    assert [one.code for one in refused] == [2] * len(refused)
    assert all("; a pooler gives the session away between transactions" in one.report for one in refused)
