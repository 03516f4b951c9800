"""The catalog to compare with."""

import asyncio

import pytest

from pattern_metrics.consumer.demo.embedded import PostgresServer
from tests.migration.databases import Catalog, catalog
from tests.support.postgres import TEMPLATE


@pytest.fixture(scope="session")
def newest_catalog(any_postgres_server: PostgresServer) -> Catalog:
    """The catalog of the latest revision on each available PostgreSQL, read once. No test changes it."""
    return asyncio.run(catalog(any_postgres_server.dsn(TEMPLATE)))
