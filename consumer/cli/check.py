"""The command `consume --check`: reports everything that a worker would lack, connecting as a worker does."""

import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from pattern_metrics.consumer.cli.common import (
    KAFKA,
    POSTGRESQL,
    CommandFailedError,
    attempt,
    start_logging,
    tracing,
)
from pattern_metrics.consumer.cli.output import tell
from pattern_metrics.consumer.kafka.broker import find_topic, require_rights
from pattern_metrics.consumer.operations.migration import migration_status
from pattern_metrics.consumer.postgres.store import Store, find_lacking
from pattern_metrics.consumer.settings import WorkerSettings

T = TypeVar("T")


def check(settings: WorkerSettings, *, as_json: bool = False) -> None:
    """Report everything that is missing, one line each.

    Args:
        settings: the worker's settings.
        as_json: whether to print success as JSON too.

    Raises:
        typer.Exit: something is missing: 2, or 1 if a server is down.
    """
    start_logging()
    checks = _Checks()
    with tracing():
        for topic in settings.each_topic():
            _check_topic(topic, checks)
    _check_database(settings, checks)
    for failed in checks.failures:
        tell(failed.line)
    if checks.failures:
        raise typer.Exit(max(failed.code for failed in checks.failures))
    if as_json:
        typer.echo(json.dumps({"ok": True}))
    tell("ok: Kafka, topic, database and revision are as the worker needs them")


def _check_topic(settings: WorkerSettings, checks: "_Checks") -> None:
    topic = checks.ask(find_topic(settings), KAFKA)
    if topic is not None and (line := topic.describe_unavailable()):
        tell(f"warning: {line}; a worker reads the others")
    of_topic = (TopicAuthorizationFailedError, UnknownTopicOrPartitionError)
    if all(isinstance(failed.error, of_topic) for failed in checks.failures):  # else no broker can be asked
        checks.ask(require_rights(settings), KAFKA)


def _check_database(settings: WorkerSettings, checks: "_Checks") -> None:
    url = settings.database_url.get_secret_value()
    lacking = checks.ask(find_lacking(url, keeps_history=settings.history_enabled), POSTGRESQL)
    if lacking is None:
        return
    status = checks.ask(migration_status(url), POSTGRESQL)
    if status is not None and not status.up_to_date:
        checks.fail(POSTGRESQL, f"lacks revisions {', '.join(status.pending)}; run migrate up")
    elif lacking.relations:
        checks.fail(POSTGRESQL, lacking.relations)
    if lacking.rights:
        checks.fail(POSTGRESQL, lacking.rights)
    if not (lacking.relations or lacking.rights):
        checks.ask(_open_store(url), POSTGRESQL)


async def _open_store(database_url: str) -> None:
    store = Store(database_url)
    async with store.transaction():
        pass
    await store.close()


class _Checks:
    """The checks and their failures. Equal failures are reported once."""

    def __init__(self) -> None:
        self.failures: list[CommandFailedError] = []

    def ask(self, question: Coroutine[Any, Any, T], about: str) -> T | None:
        """Return the answer, or record the failure and return None."""
        try:
            return attempt(question, about)
        except CommandFailedError as failed:
            if failed.line not in {other.line for other in self.failures}:
                self.failures.append(failed)
            return None

    def fail(self, about: str, why: str) -> None:
        """Record something that is missing according to an answer."""
        self.failures.append(CommandFailedError(f"error: {about}: {why}", 2))
