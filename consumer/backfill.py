"""Measurements from a file, or from an agent without Kafka, into the table by the same path."""

import asyncio
import codecs
import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import TextIOWrapper
from itertools import islice
from typing import IO, Final

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import WEATHER, persevere
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, decode_batch
from pattern_metrics.consumer.records.decoding import FILE_TOPIC_PREFIX
from pattern_metrics.consumer.records.record import Accepted, StoredRecord
from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

BATCH_RECORDS: Final = 1000

_JSON_COLUMNS: Final = ("quality_score", "confidence", "metadata")
"""Columns of a CSV file whose cells are JSON; the others are text."""

_REQUIRED_COLUMNS: Final = tuple(
    name for name, field in Measurement.model_fields.items() if field.is_required()
)


@dataclass(frozen=True, slots=True)
class Source:
    """Lines of a file, as records: topic `file:NAME`, partition 0, the line's number as offset.

    Attributes:
        name: the file's name, without its directory.
        timestamp: when the file was written, in milliseconds since the epoch: one that was changed since has
            dead letters of its own.
        lines: number and JSON of each.
    """

    name: str
    timestamp: int
    lines: Iterable[tuple[int, bytes]]

    def records(self) -> Iterator[StoredRecord]:
        """The lines that are not blank."""
        return (
            StoredRecord(f"{FILE_TOPIC_PREFIX}{self.name}", 0, number, self.timestamp, line)
            for number, line in self.lines
            if line.strip()
        )


def json_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a JSON Lines file."""
    return enumerate(file, start=1)


class InvalidSourceError(Exception):
    """The file is neither JSON Lines nor a CSV that we can read; the message is one line."""


def is_csv(name: str, head: bytes) -> bool:
    """Whether a file is CSV: by its name, or by a header that names the columns.

    Args:
        name: the file's; standard input has none that tells.
        head: how the file begins.
    """
    header = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
    return name.lower().endswith(".csv") or (header[:1] != b"{" and b"pattern_id" in header)


def csv_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rows of a CSV file with a header, as JSON; an empty cell is an absent field.

    Raises:
        InvalidSourceError: the header lacks a column that every measurement has, or has one twice.
    """
    csv.field_size_limit(2**31 - 1)  # what is too large is refused as a measurement, not as a file
    # A byte that is not UTF-8 becomes a lone surrogate, for which the contract refuses its row alone.
    text = TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.DictReader(text, restkey="")
    _require_columns(rows.fieldnames or ())
    for row in rows:
        cells = {name: value for name, value in row.items() if name and isinstance(value, str) and value}
        fields = {name: _cell(value) if name in _JSON_COLUMNS else value for name, value in cells.items()}
        if any(row.get("") or ()):
            fields = {"cells": fields, "cells_without_a_column": row[""]}
        yield rows.line_num, json.dumps(fields).encode()


def _require_columns(header: Sequence[str]) -> None:
    lacking = [name for name in _REQUIRED_COLUMNS if name not in header]
    if lacking:
        raise InvalidSourceError(f"the header lacks {', '.join(lacking)} (columns are separated by commas)")
    if len(set(header)) < len(header):
        raise InvalidSourceError("the header has a column twice")


def _cell(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text  # which the contract then refuses, with its reason


@dataclass(frozen=True, slots=True)
class BackfillRules:
    """How much of a source is taken, and how fast.

    Attributes:
        accepted_until: the latest acceptable measurement time.
        limit: the first so many measurements; None for all.
        min_confidence: measurements below it are passed over.
        batch_records: measurements in one transaction.
        delay_seconds: the pause between two transactions.
    """

    accepted_until: datetime
    limit: int | None = None
    min_confidence: float = 0.0
    batch_records: int = BATCH_RECORDS
    delay_seconds: float = 0.0


@dataclass(slots=True)
class BackfillReport:
    """What became of the measurements, kept current.

    Attributes:
        accounting: of those that were taken.
        passed_over: how many were not, for their confidence.
    """

    accounting: Accounting = field(default_factory=Accounting)
    passed_over: int = 0

    def as_dict(self) -> dict[str, int]:
        """For a program."""
        return {**self.accounting.as_dict(), "passed_over": self.passed_over}

    def __str__(self) -> str:
        passed_over = f"; passed over {self.passed_over:,} for their confidence" if self.passed_over else ""
        return f"{self.accounting}{passed_over}"


async def backfill(
    store: Store, source: Source, rules: BackfillRules, on_refused: Callable[[int, str], None]
) -> BackfillReport:
    """Bring a source's measurements into the table; run twice, it changes nothing the second time.

    Args:
        store: where to write; a `ShadowStore` to see what would be applied. It is closed at the end.
        source: the measurements.
        rules: what is taken.
        on_refused: told of each line that holds no valid measurement: its number, and why.

    Raises:
        asyncpg.PostgresError: a statement failed, and waiting does not help.
        InvalidSourceError: as `csv_lines`.
    """
    health, report = Health(), BackfillReport()
    records = islice(source.records(), rules.limit)
    try:
        while part := list(islice(records, rules.batch_records)):
            if report.accounting.read:
                await asyncio.sleep(rules.delay_seconds)
            batch = _decode(part, rules)
            for rejected in batch.rejected:
                on_refused(rejected.record.offset, f"{rejected.reason}: {rejected.detail}")
            report.accounting += await _write(store, batch, health)
            report.passed_over += len(part) - len(batch.accepted) - len(batch.rejected)
    finally:
        await store.close()
    return report


def _decode(records: Sequence[StoredRecord], rules: BackfillRules) -> Batch:
    batch = decode_batch(records, accepted_until=rules.accepted_until, breaker=None)
    taken = [accepted for accepted in batch.accepted if accepted.event.confidence >= rules.min_confidence]
    return Batch(taken, batch.rejected, batch.last)


async def _write(store: Store, batch: Batch, health: Health) -> Accounting:
    async def write() -> Accounting:
        async with store.transaction() as transaction:
            return await store_batch(transaction, batch)

    return await persevere("postgresql", write, health, waits_out=WEATHER)


async def store_quality_metrics(
    database_url: str, measurements: Sequence[Measurement], *, keeps_history: bool = False
) -> Accounting:
    """Write measurements into the table without Kafka, for an agent that has none; waits out an outage.

    The same law as everywhere: a measurement that is not newer than its pattern's row changes nothing. One
    that is no `PatternScored` is named by its content, so that to store it twice is a retry.

    Args:
        database_url: any DSN that asyncpg knows.
        measurements: what to store; in one transaction.
        keeps_history: whether all of them are kept in `pattern_quality_history` as well.

    Returns:
        What became of them; a dead letter is one that the database refused.

    Raises:
        asyncpg.PostgresError: a statement failed, and waiting does not help.
    """
    events = [
        measurement if isinstance(measurement, PatternScored) else PatternScored.from_measurement(measurement)
        for measurement in measurements
    ]
    batch = Batch(
        [
            Accepted(StoredRecord("agent", 0, number, -1, event.to_json()), event)
            for number, event in enumerate(events, start=time.time_ns())  # so that each call has its own
        ],
        [],
        None,
    )
    store = Store(database_url, keeps_history=keeps_history)
    try:
        return await _write(store, batch, Health())
    finally:
        await store.close()
