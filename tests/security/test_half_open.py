"""TLS connections that are neither alive nor closed are noticed and replaced, and delay no stop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.settings.timing import TIMING
from tests.security.conftest import PASSWORD, USER, Credentials, SecuredKafka, SecuredPostgres
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess, environment_of
from tests.support.kafka import create_topic
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.postgres import TEMPLATE, new_database
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

NOTICE_SECONDS_MAX = 60.0
GRACE_SECONDS = 4
SLACK_SECONDS = 5


@dataclass(frozen=True)
class Scene:
    """A worker that reaches both servers by TLS through a proxy; `settings` bypass the proxy."""

    settings: WorkerSettings
    worker: WorkerProcess

    async def publish(self, seconds: int) -> None:
        async with ScorePublisher(self.settings) as publisher:
            await publisher.publish(an_event(1, seconds, event=seconds))

    async def wait_until_written(self, seconds: int, seconds_max: float) -> None:
        expected = expected_table([an_event(1, seconds, event=seconds)])

        async def is_written() -> bool:
            return await table(self.settings) == expected

        await eventually(is_written, deadline_seconds=seconds_max)


@pytest.mark.long
async def test_half_open_tls_connections_are_replaced_in_a_minute_and_delay_no_stop(
    secured_kafka: SecuredKafka,
    secured_postgres: SecuredPostgres,
    credentials: Credentials,
    tmp_path: Path,
) -> None:
    await secured_kafka.be_right()
    await secured_postgres.change()
    servers = secured_kafka.server.bootstrap_servers
    detour = secured_kafka.server.listeners["DETOUR"].advertised_port or 0

    @asynccontextmanager
    async def scene(name: str, to_postgres: Proxy) -> AsyncIterator[Scene]:
        async with new_database(secured_postgres.server, TEMPLATE) as database_url:
            topic = await create_topic(servers, partitions=1)
            settings = worker_settings(servers, topic, database_url, kafka_enable_idempotence=True)
            database = database_url.rpartition("/")[2]
            address = f"{HOST}:{to_postgres.port}/{database}?sslmode=verify-full&sslrootcert={credentials.ca}"
            environment = {
                **environment_of(settings),
                **credentials.environment(secured_kafka, "DETOUR"),
                "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{detour}",
                "DATABASE_URL": f"postgresql://{USER}:{PASSWORD}@{address}",
                "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
            }
            (tmp_path / name).mkdir()
            async with CommandLine(tmp_path / name, environment).worker() as worker:
                scene = Scene(settings, worker)
                await scene.publish(1)
                await scene.wait_until_written(1, SECONDS_MAX)
                yield scene

    async def go_on(scene: Scene) -> None:
        await scene.publish(2)
        await scene.wait_until_written(2, NOTICE_SECONDS_MAX)
        assert len(scene.worker.events("worker_started")) == 1

    async def stop(scene: Scene) -> None:
        await scene.publish(3)
        began_at = time.monotonic()
        assert await scene.worker.terminate() == 0
        assert time.monotonic() - began_at < GRACE_SECONDS + TIMING.leave + SLACK_SECONDS

    async with (
        Proxy(secured_kafka.server.port_of("DETOUR"), detour) as to_kafka,
        Proxy(secured_postgres.server.port) as to_one,
        Proxy(secured_postgres.server.port) as to_other,
        scene("one", to_one) as one,
    ):
        to_kafka.forget()
        # The other worker's connections to Kafka are new, so they work. Only its connection to PostgreSQL is
        # forgotten.
        async with scene("other", to_other) as other:
            to_other.forget()
            await asyncio.gather(go_on(one), go_on(other))
            for proxy in (to_kafka, to_one, to_other):
                proxy.freeze()
            await asyncio.gather(stop(one), stop(other))
