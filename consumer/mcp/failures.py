"""The failures of tools, as sentences for a language model: they name no error, no server and no file."""

from typing import Final

import structlog
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.api.failures import ERRORS, SLOW, failure_of
from pattern_metrics.consumer.faults.diagnosis import UnfitDatabaseError, diagnose, is_of_postgresql
from pattern_metrics.publisher.outbox.place import OutboxError
from pattern_metrics.schemas.settings.database_url import InvalidDatabaseUrlError
from pattern_metrics.schemas.settings.kafka import SettingFileError
from pattern_metrics.schemas.settings.token_provider import TokenProviderError

logger = structlog.get_logger()

_WITH_NAMES: Final = (InvalidDatabaseUrlError, OutboxError, SettingFileError, UnfitDatabaseError)
"""Errors whose hints may name a file of the server."""

FAILURES: Final = (*ERRORS, *_WITH_NAMES, KafkaError, TokenProviderError)
"""The errors that `failure_sentence` explains. Any other is a bug."""


def failure_sentence(error: Exception, *, of_kafka: bool = False) -> str:
    """Log one of FAILURES, and return what it means.

    Args:
        error: the error.
        of_kafka: whether an error of the network came from Kafka.
    """
    hint = diagnose(error).hint
    logger.warning("tool_failed", error=type(error).__name__, hint=hint)
    if isinstance(error, _WITH_NAMES):
        return "a setting or the schema of the server is not right: its log says what"
    if not is_of_postgresql(error) and (of_kafka or not isinstance(error, ERRORS)):
        return f"Kafka: {hint}"
    failure = failure_of(error)
    if failure == SLOW:
        return "PostgreSQL: it did not answer in time"
    return "an argument is not valid" if failure.hint is None else f"PostgreSQL: {failure.hint}"
