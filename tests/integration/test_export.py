"""The readers' view, and its rows as JSON Lines, CSV and Parquet."""

import asyncio
import csv
import io
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import asyncpg
import pyarrow.parquet
import pytest

from pattern_metrics.consumer.operations.backfill import BackfillRules, backfill
from pattern_metrics.consumer.operations.export import ROWS_IN_MEMORY, export_rows
from pattern_metrics.consumer.operations.files.recognition import read_measurements
from pattern_metrics.consumer.operations.formats import Format
from pattern_metrics.consumer.operations.measurement_files import MeasurementSource
from pattern_metrics.consumer.operations.row_formats import WRITERS
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.publisher.scoring.scorer import WEIGHTS
from pattern_metrics.schemas.bands import BANDS, Band, band_of
from pattern_metrics.schemas.pattern_scored import METADATA_BYTES_MAX
from tests.support.batches import a_batch, write
from tests.support.pipeline import BASE_TIME, an_event
from tests.support.postgres import TEMPLATE, new_database

EVERYTHING: dict[str, Any] = {"min_quality": None, "band": None}


async def insert(url: str, *events: Any) -> None:
    store = Store(url)
    try:
        assert (await write(store, a_batch(events))).dead_letters == 0
    finally:
        await store.close()


async def export(url: str, of: Format, **selection: Any) -> bytes:
    output = io.BytesIO()
    steps = list[tuple[int, int]]()
    exported = await export_rows(
        url,
        **(EVERYTHING | selection),
        open_writer=partial(_open, of, output),
        advance=lambda done, total: steps.append((done, total)),
    )
    assert not exported.rows or steps[-1] == (exported.rows, exported.rows)
    return output.getvalue()


def _open(of: Format, output: io.BytesIO, columns: Any) -> Any:
    return WRITERS[of](columns, output.write)  # type: ignore[arg-type]


async def json_rows(url: str, **selection: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await export(url, Format.JSONL, **selection)).splitlines()]


SOME = [
    an_event(1, score=0.95, metadata={"name": 'ü, "q"\nline', "dimensions": dict.fromkeys(WEIGHTS, 0.5)}),
    an_event(2, score=0.7, metadata={"dimensions": {"completeness": 1, "documentation": "0.5"}}),
    an_event(3, score=0.69999, metadata={"dimensions": [1], "deep": {"a": [0.125, None, "é"]}}),
    an_event(4, score=0.0, metadata={}, version="β"),
]


async def test_the_three_formats_hold_the_same_rows(any_migrated_database_url: str) -> None:
    url = any_migrated_database_url
    await insert(url, *SOME)

    lines = await json_rows(url)
    cells = list(csv.DictReader(io.StringIO((await export(url, Format.CSV)).decode(), newline="")))
    columns = pyarrow.parquet.read_table(io.BytesIO(await export(url, Format.PARQUET))).to_pylist()

    assert [row["pattern_id"] for row in lines] == [str(event.pattern_id) for event in SOME]
    for event, line, cell, column in zip(SOME, lines, cells, columns, strict=True):
        assert (line["quality_score"], line["metadata"]) == (event.quality_score, event.metadata)
        assert line["band"] == cell["band"] == column["band"] == band_of(event.quality_score)
        assert float(cell["quality_score"]) == column["quality_score"] == event.quality_score
        assert json.loads(cell["metadata"]) == json.loads(column["metadata"]) == event.metadata
        assert column["measurement_timestamp"] == event.measurement_timestamp
        assert list(line) == list(cell) == list(column)
        assert {name: line[name] for name in WEIGHTS} == {name: column[name] for name in WEIGHTS}
        assert {name: cell[name] for name in WEIGHTS} == {
            name: "" if line[name] is None else str(line[name]) for name in WEIGHTS
        }


async def test_the_dimensions_are_columns_where_they_are_numbers_from_0_to_1(
    any_migrated_database_url: str,
) -> None:
    url = any_migrated_database_url
    await insert(url, *SOME)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, metadata) "
        """VALUES (gen_random_uuid(), 0.1, 1, '{"dimensions": {"completeness": 1e400, "complexity": -1}}'),"""
        "(gen_random_uuid(), 0.1, 1, NULL), (gen_random_uuid(), 0.1, 1, '[1]')"
    )
    await connection.close()

    rows = await json_rows(url)

    assert [[row[name] for name in WEIGHTS] for row in rows[:3]] == [
        [0.5] * 5,
        [1.0, None, None, None, None],
        [None] * 5,
    ]
    assert all(row[name] is None for row in rows[3:] for name in WEIGHTS)
    assert len(rows) == len(SOME) + 3


async def test_any_dimension_is_exported_and_a_pattern_without_a_name_goes_by_its_id(
    any_migrated_database_url: str,
) -> None:
    url = any_migrated_database_url
    sent: list[Any] = [
        {
            "name": "f",
            "dimensions": {"zeal": 0.25, "complexity": 1, "grace": 0, "ours": 2, "b": True, "s": "1"},
        },
        {"name": {"a": 1}, "dimensions": [0.5]},
        {"name": " ", "dimensions": {f"d{number}": 0.5 for number in range(3000)}},
        {},
    ]
    await insert(url, *(an_event(number, metadata=metadata) for number, metadata in enumerate(sent)))
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, metadata) VALUES "
        """('ffffffff-0000-0000-0000-000000000000', 0.1, 1, '{"dimensions": {"a": 1e400, "b": 0.5}}')"""
    )
    await connection.close()

    lines = await json_rows(url)
    cells = list(csv.DictReader(io.StringIO((await export(url, Format.CSV)).decode())))
    columns = pyarrow.parquet.read_table(io.BytesIO(await export(url, Format.PARQUET))).to_pylist()

    ids = [line["pattern_id"] for line in lines]
    assert [line["name"] for line in lines] == ["f", *ids[1:]]
    dimensions = [line["dimensions"] for line in lines]
    assert dimensions[0] == {"complexity": 1, "grace": 0, "zeal": 0.25}
    assert [len(one) for one in dimensions] == [3, 0, 3000, 0, 1]
    for rows in (cells, columns):
        assert [row["name"] for row in rows] == [line["name"] for line in lines]
        assert [json.loads(row["dimensions"]) for row in rows] == dimensions


async def test_the_view_and_the_scorer_agree_on_every_band(any_migrated_database_url: str) -> None:
    edges = [math.nextafter(least, to) for least in BANDS.values() for to in (least, 0, 1)]
    scores = [*edges, 1.0, *(random.random() for _ in range(500))]
    await insert(
        any_migrated_database_url, *(an_event(number, score=score) for number, score in enumerate(scores))
    )

    rows = await json_rows(any_migrated_database_url)

    assert [row["quality_score"] for row in rows] == scores
    assert [row["band"] for row in rows] == [band_of(score) for score in scores]
    assert [*Band] == [*BANDS]


async def test_a_selection_by_score_and_band_holds_what_fulfils_both(any_migrated_database_url: str) -> None:
    url = any_migrated_database_url
    await insert(url, *SOME)

    async def scores(**selection: Any) -> list[float]:
        return [row["quality_score"] for row in await json_rows(url, **selection)]

    assert await scores(min_quality=0.7) == [0.95, 0.7]
    assert await scores(band=Band.GOOD) == [0.7]
    assert await scores(min_quality=0.9, band=Band.GOOD) == []
    assert (await export(url, Format.CSV, band=Band.FAIR, min_quality=0.9)).count(b"\n") == 1
    assert (
        pyarrow.parquet.read_table(io.BytesIO(await export(url, Format.PARQUET, min_quality=1.0))).num_rows
        == 0
    )


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@x",
    "\tx",
    "\rx",
    "\nx",
    "'=x",
    "''",
    "",
    r"\N",
    "\uff1d1",
    "a=b",
]

HOSTILE = [
    an_event(number, version=text, metadata={"name": text, text: [text, -1], "n": 0.1 + number})
    for number, text in enumerate(FORMULAS, start=10)
]


LARGEST = [
    an_event(40, metadata={"texts": ["x"] * ((METADATA_BYTES_MAX - len('{"texts":[]}') + 1) // len('"x",'))}),
    an_event(41, metadata={"text": "é" * ((METADATA_BYTES_MAX - len('{"text":""}')) // 2)}),
]
"""With the spaces that PostgreSQL prints, the first is larger than metadata may be."""


@pytest.mark.parametrize("of", Format)
async def test_an_export_can_be_backfilled_into_an_equal_table(
    postgres_server: Any, migrated_database_url: str, of: Format
) -> None:
    await insert(migrated_database_url, *SOME, *HOSTILE, *LARGEST)
    exported = await export(migrated_database_url, of)

    async with new_database(postgres_server, TEMPLATE) as other:
        report = await backfill(
            Store(other),
            MeasurementSource("export", 1, read_measurements(io.BytesIO(exported))),
            BackfillRules(accepted_until=lambda _: BASE_TIME.replace(year=2100)),
            lambda line, why: pytest.fail(f"line {line}: {why}"),
        )
        copied = await export(other, Format.JSONL)

    assert report.accounting.applied == len(SOME) + len(HOSTILE) + len(LARGEST)
    original = await export(migrated_database_url, Format.JSONL)
    assert without_write_times(copied) == without_write_times(original)


async def test_no_cell_of_a_csv_is_a_formula(migrated_database_url: str) -> None:
    await insert(migrated_database_url, *HOSTILE)
    connection = await asyncpg.connect(migrated_database_url)
    await connection.execute(
        "INSERT INTO pattern_quality_metrics "
        "(pattern_id, quality_score, confidence, measurement_timestamp, metadata) "
        "VALUES (gen_random_uuid(), 0, 0, '-infinity', '-1'), (gen_random_uuid(), 0, 0, now(), '\"=1\"')"
    )
    await connection.close()

    text = (await export(migrated_database_url, Format.CSV)).decode()
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]

    assert len(cells) == 16 * (1 + len(HOSTILE) + 2)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))]


FAR_TIMES = [
    "infinity",
    "-infinity",
    "57000-01-01 00:00:00+00",
    "294276-12-31 23:59:59.999999+00",
    "0044-03-15 12:00:00+00 BC",
    "4713-01-01 00:00:00+00 BC",
]


async def test_a_time_that_python_cannot_hold_is_exported_as_postgresql_writes_it(
    any_migrated_database_url: str,
) -> None:
    url = any_migrated_database_url
    await insert(url, SOME[0])
    connection = await asyncpg.connect(url)
    await connection.executemany(
        "INSERT INTO pattern_quality_metrics "
        "(pattern_id, quality_score, confidence, measurement_timestamp, updated_at) "
        "SELECT gen_random_uuid(), 0, 0, $1::text::timestamptz, $1::text::timestamptz",
        [(time,) for time in FAR_TIMES],
    )
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'")
    await connection.close()

    first, *lines = await json_rows(url)
    _, *cells = csv.DictReader(io.StringIO((await export(url, Format.CSV)).decode(), newline=""))
    one, *columns = pyarrow.parquet.read_table(io.BytesIO(await export(url, Format.PARQUET))).to_pylist()

    assert first["measurement_timestamp"] == BASE_TIME.isoformat()
    assert one["measurement_timestamp"] == BASE_TIME
    for name in ("measurement_timestamp", "updated_at"):
        assert {line[name] for line in lines} == {*FAR_TIMES}
        assert {cell[name].removeprefix("'") for cell in cells} == {*FAR_TIMES}
        assert {column[name] for column in columns} == {None}


def without_write_times(exported: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) | {"updated_at": None} for line in exported.splitlines()]


async def test_an_export_is_one_instant_and_few_rows_at_a_time_while_others_write(
    any_migrated_database_url: str,
) -> None:
    """Between the first and the last page, every row is changed and one is added."""
    url, count = any_migrated_database_url, 2 * ROWS_IN_MEMORY + 10
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence) "
        "SELECT gen_random_uuid(), 0.5, 1 FROM generate_series(1, $1::int)".replace("$1::int", str(count))
    )
    await connection.close()
    pages, scores = list[int](), Counter[float]()

    @contextmanager
    def looking(columns: Any) -> Iterator[Any]:
        place = [column.name for column in columns].index("quality_score")

        def write_rows(rows: Sequence[Any]) -> None:
            if not pages:
                with ThreadPoolExecutor(1) as elsewhere:
                    elsewhere.submit(asyncio.run, change_everything(url)).result()
            pages.append(len(rows))
            scores.update(row[place] for row in rows)

        yield write_rows

    exported = await export_rows(url, **EVERYTHING, open_writer=looking, advance=lambda *_: None)

    assert exported.rows == count
    assert scores == {0.5: count}
    assert pages == [ROWS_IN_MEMORY, ROWS_IN_MEMORY, 10]


async def change_everything(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE pattern_quality_metrics SET quality_score = 0.1; INSERT INTO pattern_quality_metrics "
        "(pattern_id, quality_score, confidence) VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff', 0.2, 1)"
    )
    await connection.close()
