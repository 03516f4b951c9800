"""Everything that is missing is reported in one line with its remedy, by worker and `consume --check`."""

import asyncio
import uuid
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.migrations.revisions import REVISIONS
from pattern_metrics.publisher.client import ScorePublisher
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.kafka import Broker, administering
from tests.support.pipeline import an_event, execute, expected_table, table, worker_settings
from tests.support.waiting import eventually


async def topics(settings: WorkerSettings) -> list[str]:
    async with administering(settings.kafka_bootstrap_servers) as admin:
        names: list[str] = await admin.list_topics()
        return names


async def test_a_worker_says_what_is_missing_and_continues_once_it_is_there(
    broker: Broker, database_url: str, tmp_path: Path
) -> None:
    settings = worker_settings(broker.bootstrap_servers, f"test-{uuid.uuid4().hex}", database_url)
    command = CommandLine(tmp_path, environment_of(settings))

    async with command.worker() as worker:
        no_topic = await worker.wait_for_event("not_ready", component="kafka")
        assert settings.kafka_topic not in await topics(settings)
        created = (await command.run("topic", "create", "--partitions", "3")).succeeded()
        no_table = await worker.wait_for_event("not_ready", component="postgresql")
        (await command.run("migrate", "up")).succeeded()
        await worker.wait_for_event("recovered", component="postgresql")
        async with ScorePublisher(settings) as publisher:
            await publisher.publish(event := an_event())
        await eventually(lambda: table(settings), deadline_seconds=SECONDS_MAX)
        assert worker.is_running
        reported = worker.events("not_ready")

    assert "pattern-metrics topic create" in no_topic["hint"]
    assert "pattern-metrics migrate up" in no_table["hint"]
    assert reported[:2] == [no_topic, no_table]
    # `migrate up` is several transactions: after each one, the worker may report what is still missing.
    assert all("pattern-metrics migrate up" in line["hint"] for line in reported[2:])
    assert created.stdout.decode() == f"topic {settings.kafka_topic} created\n"
    assert await table(settings) == expected_table([event])


async def test_all_that_a_new_installation_lacks_is_reported_at_once(
    broker: Broker, database_url: str, tmp_path: Path
) -> None:
    names = [f"test-{uuid.uuid4().hex}" for _ in range(2)]
    settings = worker_settings(broker.bootstrap_servers, ",".join(names), database_url)
    command = CommandLine(tmp_path, environment_of(settings))

    checked = await command.run("consume", "--check")
    async with command.worker() as worker:
        reported = [
            await worker.wait_for_event("not_ready", component=component)
            for component in ("kafka", "postgresql")
        ]
        assert not set(names) & set(await topics(settings))

    lines = checked.stderr.splitlines()
    assert [name in line for name, line in zip(names, lines, strict=False)] == [True, True]
    assert [name in reported[0]["said"] for name in names] == [True, True]
    assert "pattern-metrics topic create" in reported[0]["hint"]
    assert "pattern-metrics topic create" in lines[0]
    assert "migrate up" in reported[1]["hint"]
    assert "migrate up" in lines[2]
    assert len(lines) == 3
    tables = ("pattern_quality_metrics", "ingest_progress", "ingest_gaps", "dead_letters")
    assert all(name in reported[1]["hint"] for name in tables)
    assert checked.code == 2


async def test_all_rights_that_a_login_lacks_are_reported_at_once(
    broker: Broker, migrated_database_url: str, tmp_path: Path
) -> None:
    login = f"stranger_{uuid.uuid4().hex}"
    settings = worker_settings(broker.bootstrap_servers, f"test-{uuid.uuid4().hex}", migrated_database_url)
    url = migrated_database_url.replace("postgres@", f"{login}@")
    command = CommandLine(tmp_path, environment_of(settings) | {"DATABASE_URL": url})
    await execute(settings, f"CREATE ROLE {login} LOGIN")
    try:
        checked = await command.run("consume", "--check")
        async with command.worker() as worker:
            reported = await worker.wait_for_event("not_ready", component="postgresql")
    finally:
        await execute(settings, f"DROP ROLE {login}")

    for right in ("SELECT on ingest_progress", "UPDATE on dead_letters", "INSERT on pattern_quality_metrics"):
        assert right in reported["hint"]
        assert right in checked.stderr
    assert "pattern_quality_history" not in reported["hint"], "it is not needed where no history is kept"
    assert checked.code == 2


async def test_a_topic_that_is_there_is_fine(command: CommandLine, settings: WorkerSettings) -> None:
    created = (await command.run("topic", "create")).succeeded()

    assert created.stdout.decode() == f"topic {settings.kafka_topic} is there already\n"


async def test_the_check_is_silent_on_stdout_and_succeeds_when_all_is_well(real_command: CommandLine) -> None:
    checked = (await real_command.run("consume", "--check")).succeeded()

    assert checked.stdout == b""
    assert len(checked.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("lacking", "remedy"),
    [("topic", "topic create"), ("revision", "migrate up"), ("database", "create it")],
)
async def test_the_check_names_the_remedy_in_one_line(
    real_settings: WorkerSettings, database_url: str, tmp_path: Path, lacking: str, remedy: str
) -> None:
    settings = environment_of(real_settings)
    changes = {
        "topic": {"KAFKA_TOPIC": "missing"},
        "revision": {"DATABASE_URL": database_url},
        "database": {"DATABASE_URL": f"{database_url}_missing"},
    }

    checked = await CommandLine(tmp_path, settings | changes[lacking]).run("consume", "--check")

    assert_refused(checked.code, checked.stderr, remedy)


async def test_the_check_names_each_revision_that_the_database_lacks(
    real_settings: WorkerSettings, database_url: str, tmp_path: Path
) -> None:
    await migrate_up(database_url, REVISIONS[-2])
    environment = environment_of(real_settings) | {"DATABASE_URL": database_url}

    checked = await CommandLine(tmp_path, environment).run("consume", "--check")

    assert_refused(checked.code, checked.stderr, f"lacks revisions {REVISIONS[-1]}; run migrate up")


@pytest.mark.parametrize("away", ["KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"])
async def test_the_check_fails_in_one_line_where_a_server_is_away(
    real_settings: WorkerSettings, tmp_path: Path, away: str
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    changes = {"KAFKA_BOOTSTRAP_SERVERS": nobody, "DATABASE_URL": f"postgresql://u:s3cret@{nobody}/d"}

    checked = await CommandLine(tmp_path, environment_of(real_settings) | {away: changes[away]}).run(
        "consume", "--check"
    )

    assert checked.code == 1
    assert len(checked.stderr.splitlines()) == 1, checked.stderr
    assert "s3cret" not in checked.stderr


def assert_refused(code: int, stderr: str, named: str) -> None:
    assert "Traceback" not in stderr, stderr
    assert "s3cret" not in stderr
    assert len(stderr.splitlines()) == 1, stderr
    assert named in stderr
    assert code == 2


WORKER = ["consume"]
MIGRATE = ["migrate", "status"]
TOPIC = ["topic", "create"]
PUBLISH = ["publish", "-"]

SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
TLS = {"KAFKA_SECURITY_PROTOCOL": "SSL"}

BAD_SETTINGS: list[tuple[list[str], str, dict[str, str]]] = [
    (WORKER, "DATABASE_URL", {"DATABASE_URL": ""}),
    (MIGRATE, "DATABASE_URL", {"DATABASE_URL": ""}),
    (WORKER, "DATABASE_URL", {"DATABASE_URL": "mysql://u:s3cret@127.0.0.1/d"}),
    (MIGRATE, "DATABASE_URL", {"DATABASE_URL": "postgresql://u:s3cret@[::1/d"}),
    # A password that was not percent-encoded: the part after its slash is taken for the port.
    (MIGRATE, "DATABASE_URL", {"DATABASE_URL": "postgresql://u:s3cret/s3cret@127.0.0.1/d"}),
    (WORKER, "DATABASE_URL", {"DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:s3cret/d"}),
    (MIGRATE, "DATABASE_URL", {"DATABASE_URL": "postgresql://u:s3cret@127.0.0.1/d?sslmode=s3cret"}),
    (WORKER, "KAFKA_BOOTSTRAP_SERVERS", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:s3cret"}),
    (PUBLISH, "KAFKA_BOOTSTRAP_SERVERS", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:s3cret"}),
    (TOPIC, "KAFKA_TOPIC", {"KAFKA_TOPIC": "no such/topic"}),
    (WORKER, "KAFKA_SECURITY_PROTOCOL", {"KAFKA_SECURITY_PROTOCOL": "s3cret"}),
    (TOPIC, "KAFKA_SASL_MECHANISM", SASL | {"KAFKA_SASL_PASSWORD": "s3cret"}),
    (
        PUBLISH,
        "KAFKA_SASL_PASSWORD",
        SASL | {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "s3cret"},
    ),
    (PUBLISH, "KAFKA_SSL_CAFILE", TLS | {"KAFKA_SSL_CAFILE": "missing.pem"}),
    (WORKER, "KAFKA_SSL_CERTFILE", TLS | {"KAFKA_SSL_CERTFILE": __file__}),
    (WORKER, "BATCH_MAX_RECORDS", {"BATCH_MAX_RECORDS": "0"}),
    (WORKER, "BATCH_MAX_WAIT_MS", {"BATCH_MAX_WAIT_MS": "s3cret"}),
    (WORKER, "DEAD_LETTER_MAX_CONSECUTIVE", {"DEAD_LETTER_MAX_CONSECUTIVE": "-1"}),
    (WORKER, "SHUTDOWN_GRACE_SECONDS", {"SHUTDOWN_GRACE_SECONDS": "soon"}),
    (PUBLISH, "MAX_CLOCK_SKEW_SECONDS", {"MAX_CLOCK_SKEW_SECONDS": "-1"}),
    (MIGRATE, "LOG_LEVEL", {"LOG_LEVEL": "LOUD"}),
    (WORKER, "LOG_FORMAT", {"LOG_FORMAT": "xml"}),
]


@pytest.mark.parametrize(
    ("arguments", "name", "changes"),
    BAD_SETTINGS,
    ids=[f"{arguments[0]}-{name}-{number}" for number, (arguments, name, _) in enumerate(BAD_SETTINGS)],
)
async def test_a_bad_setting_is_named_in_one_line_without_its_value(
    tmp_path: Path, arguments: list[str], name: str, changes: dict[str, str]
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    good = {"DATABASE_URL": f"postgresql://u:s3cret@{nobody}/d", "KAFKA_BOOTSTRAP_SERVERS": nobody}

    async with asyncio.timeout(SECONDS_MAX / 4):
        refused = await CommandLine(tmp_path, good | changes).run(*arguments)

    assert_refused(refused.code, refused.stderr, name)
    assert refused.stdout == b""


@pytest.mark.parametrize("arguments", [("backfill", "-"), ("replay",)], ids=["backfill", "replay"])
async def test_a_command_reports_a_missing_table_and_does_not_wait_for_it(
    real_command: CommandLine, database_url: str, arguments: tuple[str, ...]
) -> None:
    """A worker would wait. A command reports it to the person who started it."""
    line = an_event(1).to_json()
    (await real_command.run("publish", "-", stdin=line)).succeeded()

    finished = await real_command.run(*arguments, stdin=line, database_url=database_url)

    assert finished.code == 2
    assert "migrate up" in finished.stderr.splitlines()[-1]
