"""PostgreSQL by TLS (verify-full) and SCRAM: failures are reported, and fixed without a restart."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.settings import WorkerSettings
from tests.security.conftest import (
    PASSWORD,
    USER,
    WRONG_PASSWORD,
    Authorities,
    SecuredPostgres,
    assert_check_refuses,
    publish,
    wait_until_written,
)
from tests.support.command import CommandLine, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import expected_table, table, worker_settings
from tests.support.postgres import TEMPLATE, new_database

LINES_MAX = 15
LOGINS_MAX = 30
"""In half a minute, by a worker that waits up to ten seconds between two attempts."""


@dataclass(frozen=True)
class Scene:
    """The server, the client's files, and the authorities; `settings` are the superuser's."""

    postgres: SecuredPostgres
    authorities: Authorities
    settings: WorkerSettings
    directory: Path

    @property
    def command(self) -> CommandLine:
        database = self.settings.database_url.get_secret_value().rpartition("/")[2]
        files = f"sslrootcert={self.directory / 'ca.pem'}&passfile={self.directory / 'pgpass'}"
        address = f"{HOST}:{self.postgres.server.port}/{database}"
        url = f"postgresql://{USER}@{address}?sslmode=verify-full&{files}"
        return CommandLine(self.directory, environment_of(self.settings) | {"DATABASE_URL": url})

    def trust(self, authorities_file: Path) -> None:
        shutil.copy(authorities_file, self.directory / "new")
        (self.directory / "new").replace(self.directory / "ca.pem")

    def use(self, password: str) -> None:
        (self.directory / "new").write_text(f"*:*:*:{USER}:{password}\n")
        (self.directory / "new").chmod(0o600)
        (self.directory / "new").replace(self.directory / "pgpass")

    async def mend(self) -> None:
        self.trust(self.authorities.known.certificate)
        self.use(PASSWORD)
        await self.postgres.change()


@pytest.fixture
async def scene(
    secured_postgres: SecuredPostgres,
    authorities: Authorities,
    embedded_broker: Broker,
    tmp_path: Path,
) -> AsyncIterator[Scene]:
    async with new_database(secured_postgres.server, TEMPLATE) as database_url:
        servers = embedded_broker.bootstrap_servers
        settings = worker_settings(servers, await create_topic(servers), database_url)
        scene = Scene(secured_postgres, authorities, settings, tmp_path)
        await scene.mend()
        yield scene


async def test_every_command_takes_a_verified_connection(scene: Scene) -> None:
    event = await publish(scene.settings)

    (await scene.command.run("migrate", "status")).succeeded()
    (await scene.command.run("consume", "--check")).succeeded()
    (await scene.command.run("consume", "--until-caught-up")).succeeded()
    (await scene.command.run("dead-letters", "list")).succeeded()
    (await scene.command.run("verify")).succeeded()
    (await scene.command.run("backfill", "-", stdin=event.to_json())).succeeded()

    assert await table(scene.settings) == expected_table([event])


async def spoil_password(scene: Scene) -> None:
    scene.use(WRONG_PASSWORD)


async def spoil_authority(scene: Scene) -> None:
    scene.trust(scene.authorities.unknown.certificate)


async def spoil_authority_file(scene: Scene) -> None:
    (scene.directory / "ca.pem").write_text("nothing of the kind")


async def expire(scene: Scene) -> None:
    await scene.postgres.change(scene.authorities.known.sign("postgresql", is_expired=True))


async def misname(scene: Scene) -> None:
    await scene.postgres.change(scene.authorities.known.sign("postgresql", host="DNS:elsewhere.example"))


FAULTS: dict[str, tuple[Callable[[Scene], Awaitable[None]], str]] = {
    "wrong password": (spoil_password, "the login was refused: check the user, the password and pg_hba.conf"),
    "unknown CA": (spoil_authority, "signed by an unknown CA"),
    "file that is not a CA": (spoil_authority_file, "check sslrootcert, sslcert and sslkey in DATABASE_URL"),
    "expired": (expire, "has expired: renew it"),
    "wrong host name": (misname, "is for another host name"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_reported_once_and_fixed_without_a_restart(name: str, scene: Scene) -> None:
    spoil, expected = FAULTS[name]
    event = await publish(scene.settings)
    await spoil(scene)
    await assert_check_refuses(scene.command, expected)

    async with scene.command.worker() as worker:
        first = await worker.wait_for_event("not_ready", component="postgresql")
        await scene.mend()
        await wait_until_written(scene.settings, event)
        assert expected in first["hint"]
        assert worker.is_running
        assert worker.events("not_ready") == [first]
        assert len(worker.events("recovered", component="postgresql")) == 1


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_begins_while_the_worker_runs_is_reported_and_fixed(
    name: str, scene: Scene
) -> None:
    spoil, expected = FAULTS[name]

    async with scene.command.worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        await spoil(scene)
        await scene.postgres.end_sessions()
        event = await publish(scene.settings)
        await worker.wait_for_event("not_ready", component="postgresql")
        await scene.mend()
        await wait_until_written(scene.settings, event)
        assert expected in worker.events("not_ready")[-1]["hint"]
        assert worker.is_running


async def test_rotated_files_are_used_without_a_restart(scene: Scene) -> None:
    async with scene.command.worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        new = scene.authorities.unknown
        scene.trust(new.certificate)
        scene.use("rotated")
        await scene.postgres.change(new.sign("postgresql"), password="rotated")
        await scene.postgres.end_sessions()
        await wait_until_written(scene.settings, await publish(scene.settings))
        assert worker.is_running


async def test_a_refused_login_is_no_storm(scene: Scene) -> None:
    scene.use(WRONG_PASSWORD)
    before = scene.postgres.refused_logins()

    async with scene.command.worker() as worker:
        await worker.wait_for_event("not_ready", count=2)  # the reminder, after half a minute
        assert 2 <= scene.postgres.refused_logins() - before <= LOGINS_MAX
        assert len(worker.events()) <= LINES_MAX


async def test_a_password_file_that_others_may_read_is_not_used_and_reported_of(scene: Scene) -> None:
    (scene.directory / "pgpass").chmod(0o644)

    async with scene.command.worker() as worker:
        await worker.wait_for_event("not_ready", component="postgresql")
        reported = [line["event"] for line in worker.events(logger="py.warnings")]

    assert len(reported) == 1
    assert "has group or world access" in reported[0]
