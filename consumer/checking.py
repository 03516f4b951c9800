"""`consume --check`: is everything there that the worker needs?"""

import asyncpg

from consumer.kafka import require_topic
from consumer.migration import MigrationError, migration_status
from consumer.settings import WorkerSettings
from consumer.store import CONNECT_SECONDS_MAX


async def check(settings: WorkerSettings) -> None:
    """Return if Kafka, the topic, the database and its revision are as the worker needs them.

    Raises:
        KafkaError: as `kafka.require_topic`.
        asyncpg.PostgresError: the database refused.
        MigrationError: the database is not at the revision that this release needs.
        OSError: something is not reachable (`TimeoutError`: or does not answer).
    """
    await require_topic(settings)
    database_url = settings.database_url.get_secret_value()
    connection = await asyncpg.connect(database_url, timeout=CONNECT_SECONDS_MAX)
    await connection.close()
    status = await migration_status(database_url)
    if not status.up_to_date:
        raise MigrationError(f"the database lacks revisions {', '.join(status.pending)}: run migrate up")
