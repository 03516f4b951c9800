"""Connections by TLS that are neither alive nor closed: noticed and replaced, and no stop waits for them."""

import time
from pathlib import Path

from consumer.embedded import HOST
from consumer.session import LEAVE_SECONDS_MAX
from publisher import ScorePublisher
from tests.security.conftest import PASSWORD, USER, Credentials, SecuredKafka, SecuredPostgres
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.kafka import create_topic
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.postgres import new_database
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

NOTICE_SECONDS_MAX = 60.0
GRACE_SECONDS = 4
SLACK_SECONDS = 5


async def test_half_open_tls_connections_are_replaced_within_a_minute_and_keep_no_stop_waiting(
    secured_kafka: SecuredKafka,
    secured_postgres: SecuredPostgres,
    secured_template: str,
    credentials: Credentials,
    tmp_path: Path,
) -> None:
    await secured_kafka.be_right()
    await secured_postgres.change()
    servers = secured_kafka.server.bootstrap_servers
    topic = await create_topic(servers, partitions=1)
    detour = secured_kafka.server.listeners["DETOUR"].advertised_port or 0
    async with (
        new_database(secured_postgres.server, secured_template) as database_url,
        Proxy(secured_kafka.server.port_of("DETOUR"), detour) as to_kafka,
        Proxy(secured_postgres.server.port) as to_postgres,
    ):
        settings = worker_settings(servers, topic, database_url, kafka_enable_idempotence=True)
        name = database_url.rpartition("/")[2]
        address = f"{HOST}:{to_postgres.port}/{name}?sslmode=verify-full&sslrootcert={credentials.ca}"
        environment = {
            **environment_of(settings),
            **credentials.environment(secured_kafka, "DETOUR"),
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{detour}",
            "DATABASE_URL": f"postgresql://{USER}:{PASSWORD}@{address}",
            "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        }

        async def publish(seconds: int) -> None:
            async with ScorePublisher(settings) as publisher:
                await publisher.publish(an_event(1, seconds, event=seconds))

        async def wait_until_written(seconds: int, seconds_max: float) -> None:
            expected = expected_table([an_event(1, seconds, event=seconds)])

            async def is_written() -> bool:
                return await table(settings) == expected

            await eventually(is_written, deadline_seconds=seconds_max)

        async with CommandLine(tmp_path, environment).worker() as worker:
            await publish(1)
            await wait_until_written(1, SECONDS_MAX)
            to_kafka.forget()
            to_postgres.forget()
            await publish(2)
            await wait_until_written(2, NOTICE_SECONDS_MAX)
            assert len(worker.events("worker_started")) == 1

            to_kafka.freeze()
            to_postgres.freeze()
            await publish(3)
            began_at = time.monotonic()
            assert await worker.terminate() == 0
            assert time.monotonic() - began_at < GRACE_SECONDS + LEAVE_SECONDS_MAX + SLACK_SECONDS
