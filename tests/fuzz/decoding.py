"""Fuzzes the decoder: it returns for any bytes, and PostgreSQL stores accepted events unchanged.

    pip install atheris && python -m tests.fuzz.decoding -max_total_time=600

The arguments are libFuzzer's. It ends after a fault, and prints the bytes that cause it.
"""

import asyncio
import json
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import atheris

with atheris.instrument_imports(include=["schemas", "consumer"]):
    from pattern_metrics.consumer.records.decoding import decode
    from pattern_metrics.consumer.records.fast_decoding import FastEvent
    from pattern_metrics.consumer.records.unwrapping import unframed

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import batch_of
from pattern_metrics.consumer.records.record import Accepted, Rejected, Retired
from tests.properties.test_fast_decoding import assert_the_model_agrees
from tests.properties.test_fold_equals_sql import same_json
from tests.support.events import ACCEPTED_UNTIL, TopicRecord, as_scored, value, value_with_raw
from tests.support.hostile import HOSTILE, STRUCTURED

FIELDS: Final = (
    "metadata",
    "version",
    "quality_score",
    "confidence",
    "measurement_timestamp",
    "event_id",
    "x",
)
DEPTH_BUILT: Final = 6
STORED_AT_ONCE: Final = 200
INPUTS_BETWEEN_REPORTS: Final = 100_000

TOKENS: Final = (
    *(
        '"',
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\\\\u0000",
        "\\\\ud800",
        "\\\\udc00",
        "\\\\n",
        "1e308",
        "1e309",
        "-0.0",
    ),
    *(
        "5e-324",
        "NaN",
        "Infinity",
        "null",
        "true",
        "2025-06-01T12:00:00Z",
        "24:00:00",
        "-infinity",
        "0001-01-01",
    ),
)

fates = Counter[str]()
accepted = list[Accepted]()


def record_of(data: bytes) -> TopicRecord:
    """Return a record. The first byte selects how to use the others: a whole value, a field, or metadata."""
    choice, content = data[0] if data else 0, data[1:]
    headers = STRUCTURED if choice & 0x80 else ()
    match choice % (len(FIELDS) + 2):
        case 0:
            return TopicRecord(content, headers=headers)
        case 1:
            provider = atheris.FuzzedDataProvider(content)
            text = json.dumps(built_object(provider, 0), ensure_ascii=provider.ConsumeBool())
            return TopicRecord(value_with_raw("metadata", text.encode(errors="surrogatepass")))
        case number:
            return TopicRecord(value_with_raw(FIELDS[number - 2], content), headers=headers)


def built_object(provider: Any, depth: int) -> dict[str, Any]:
    return {
        provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 8)): built(provider, depth + 1)
        for _ in range(provider.ConsumeIntInRange(0, 4))
    }


def built(provider: Any, depth: int) -> Any:
    """Build any JSON value from the bytes. Deep nesting is left to the mutated texts."""
    scalars: list[Callable[[], Any]] = [
        lambda: None,
        provider.ConsumeBool,
        provider.ConsumeFloat,
        lambda: provider.ConsumeInt(provider.ConsumeIntInRange(1, 40)),
        lambda: provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 20)),
        lambda: 10.0 ** provider.ConsumeIntInRange(-330, 308),
    ]
    nested: list[Callable[[], Any]] = [
        lambda: [built(provider, depth + 1) for _ in range(provider.ConsumeIntInRange(0, 4))],
        lambda: built_object(provider, depth),
    ]
    choices = scalars + nested if depth < DEPTH_BUILT else scalars
    return choices[provider.ConsumeIntInRange(0, len(choices) - 1)]()


class Fuzzer:
    """Decodes each input, and stores accepted events by the hundred."""

    def __init__(self, runner: asyncio.Runner, store: Store, connection: Connection) -> None:
        self._runner = runner
        self._store = store
        self._connection = connection

    def __call__(self, data: bytes) -> None:
        fate = decode(record_of(data), accepted_until=ACCEPTED_UNTIL)
        fates[fate.reason if isinstance(fate, Rejected) else type(fate).__name__] += 1
        if fates.total() % INPUTS_BETWEEN_REPORTS == 0:
            print({str(fate): count for fate, count in fates.items()}, file=sys.stderr)
        if isinstance(fate, Rejected):
            fate.detail.encode()
            return
        if isinstance(fate, Retired):
            return
        if isinstance(fate.event, FastEvent):
            fates["accepted fast"] += 1
            assert_the_model_agrees(unframed(fate.record.value or b""))
        event = as_scored(fate.event).model_copy(update={"pattern_id": uuid.uuid4()})
        accepted.append(Accepted(fate.record, event))
        if len(accepted) == STORED_AT_ONCE:
            self._runner.run(self._store_all())
            accepted.clear()

    async def _store_all(self) -> None:
        batch = batch_of(accepted)
        async with self._store.transaction() as transaction:
            accounting, dead = await store_batch(transaction, batch)
            await transaction.insert_dead_letters(dead)
            rows = await transaction.connection.fetch("SELECT * FROM pattern_quality_metrics")
            letters = await transaction.connection.fetch("SELECT detail, value FROM dead_letters")
            await transaction.connection.execute("TRUNCATE pattern_quality_metrics, dead_letters")
        assert accounting == Accounting(applied=len(accepted)), [dict(letter) for letter in letters]
        stored = {row["pattern_id"]: row for row in rows}
        for one in accepted:
            row, event = stored[one.event.pattern_id], as_scored(one.event)
            assert same_json(event.metadata, json.loads(row["metadata"])), one.record.value
            assert (row["version"], row["quality_score"], row["measurement_timestamp"]) == (
                event.version,
                event.quality_score,
                event.measurement_timestamp,
            ), one.record.value


def write_seeds(corpus: Path) -> None:
    """Write the tests' known cases, whole and as single fields."""
    seeds = [b"\0" + (one.value or b"") for one in HOSTILE if len(one.value or b"") < 4096]
    seeds += [
        b"\0" + value(),
        b'\2{"a": [1, 1.5, null, "\xc3\xbc"]}',
        b'\3"1.0"',
        b"\4" + b"0.5",
        b'\6"2025-06-01T12:00:00Z"',
    ]
    seeds += [b"\1" + bytes(range(start, start + 80)) for start in range(0, 176, 16)]
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)


def main() -> None:
    """Fuzz until libFuzzer's limits are reached."""
    with (
        PostgresServer(settings={"fsync": "off"}) as server,
        tempfile.TemporaryDirectory() as directory,
        asyncio.Runner() as runner,
    ):
        runner.run(migrate_up(server.dsn()))
        corpus, dictionary = Path(directory, "corpus"), Path(directory, "tokens")
        corpus.mkdir()
        write_seeds(corpus)
        dictionary.write_text("".join(f'"{token.replace(chr(34), chr(92) + chr(34))}"\n' for token in TOKENS))
        fuzzer = Fuzzer(runner, Store(server.dsn()), runner.run(asyncpg.connect(server.dsn())))
        atheris.Setup([*sys.argv, f"-dict={dictionary}", "-max_len=4096", str(corpus)], fuzzer)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
