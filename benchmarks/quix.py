"""Quix Streams' PostgreSQL sink as its documentation shows it. Runs in its own virtual environment."""

import sys
from urllib.parse import urlsplit

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink


def _consume(bootstrap_servers: str, topic: str, group: str, dsn: str) -> None:
    url = urlsplit(dsn)
    sink = PostgreSQLSink(
        host=url.hostname,
        port=url.port,
        dbname=url.path.removeprefix("/"),
        user=url.username,
        password="",
        table_name="pattern_quality_metrics",
        schema_auto_update=False,
        primary_key_columns="pattern_id",
        upsert_on_primary_key=True,
        include_metadata=False,
    )
    application = Application(
        broker_address=bootstrap_servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        # The sink writes when it commits: after as many records as one of our batches has, and without a long
        # wait at the log's end (its default is 5 s).
        commit_every=10_000,
        commit_interval=0.5,
    )
    application.dataframe(application.topic(topic, value_deserializer="json")).sink(sink)
    application.run()


if __name__ == "__main__":
    _consume(*sys.argv[1:])
