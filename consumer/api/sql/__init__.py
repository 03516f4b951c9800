"""The statements of this package."""

from pattern_metrics.consumer.postgres.sql import statements_of

statement = statements_of(__name__)
