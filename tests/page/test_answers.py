"""The page's queries of the database, and the limits that they keep."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from typing_extensions import override

from pattern_metrics.consumer.api import database as database_module
from pattern_metrics.consumer.api.database import READER_CONNECTIONS_MAX, WHOLE, Database
from pattern_metrics.consumer.api.ingestion import Watched
from pattern_metrics.consumer.api.openapi import ORDERS
from pattern_metrics.consumer.api.patterns import PatternReader
from pattern_metrics.consumer.api.sql import statement
from pattern_metrics.consumer.dashboard.page import Page
from pattern_metrics.consumer.demo.embedded import HOST, PostgresServer
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.http.server import serving_routes
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.settings import DatabaseSettings
from pattern_metrics.consumer.telemetry.metrics import Lag, Metrics
from pattern_metrics.schemas.settings.timing import TIMING, Timing
from tests.page.conftest import fill
from tests.support.pipeline import an_event
from tests.support.postgres import TEMPLATE, new_database
from tests.support.scraping import Answer, Scraper
from tests.support.waiting import eventually

ROWS = 1_000_000

MANY_ROWS = f"""
    INSERT INTO pattern_quality_metrics
        (id, pattern_id, quality_score, confidence, measurement_timestamp, version, metadata)
    SELECT numbered, numbered, n::float8 / {ROWS}, 0.5, '2026-01-01'::timestamptz + n * interval '1 second',
        '1.' || n % 3, json_build_object('name', 'pattern ' || n)::jsonb
    FROM (SELECT n, lpad(to_hex(n), 32, '0')::uuid AS numbered FROM generate_series(1, {ROWS}) AS n) AS rows
"""


class Questions:
    """Sends the page's queries."""

    def __init__(self, port: int) -> None:
        self.scraper = Scraper(port)

    async def ask(self, path: str, **parameters: object) -> Answer:
        return await self.scraper.ask(f"/v1/{path}?{urlencode(parameters)}")

    async def ask_json(self, path: str, **parameters: object) -> Any:
        answer = await self.ask(path, **parameters)
        assert answer.status == 200, answer.body
        return answer.json


@asynccontextmanager
async def asking(
    database_url: str, watched: Watched | None = None, timing: Timing = TIMING
) -> AsyncIterator[Questions]:
    page = Page(DatabaseSettings(database_url=SecretStr(database_url)), watched, timing)
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        async with serving_routes(listener, [], page):
            yield Questions(port)


@pytest.fixture
async def questions(migrated_database_url: str) -> AsyncIterator[Questions]:
    async with asking(migrated_database_url) as one:
        yield one


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    one = Database(migrated_database_url)
    yield one
    one.close()


# A million rows


@pytest.fixture(scope="module")
def million_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Filled once; no test changes it."""

    async def fill_it(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(MANY_ROWS)
        await connection.execute("ANALYZE pattern_quality_metrics")
        await connection.close()

    with asyncio.Runner() as runner:
        database = new_database(postgres_server, TEMPLATE)
        url = runner.run(database.__aenter__())
        runner.run(fill_it(url))
        yield url
        runner.run(database.__aexit__(None, None, None))


async def test_each_question_is_answered_in_time_of_a_million_rows(million_url: str) -> None:
    """The server ends any statement after 2 s. A slower query uses a sample."""
    async with asking(million_url) as questions:
        answers = [await questions.ask_json("patterns", order=order) for order in sorted(ORDERS)]
        answers += [
            await questions.ask_json("patterns", order="worst", band="fair", version="1.1"),
            await questions.ask_json("patterns", name="TERN 99"),
            await questions.ask_json("patterns", name="00000000", order="name", band="good"),
            await questions.ask_json("changes"),
            await questions.ask_json("distribution"),
        ]
        parts = await questions.ask_json("rollup")
        part = await questions.ask_json("rollup", prefix="pattern 99999")
        for path in ("progress", "gaps", "dead-letters", "dead-letters/summary", "last-hour", "trend"):
            await questions.ask_json(path)
        by_id = await questions.ask_json("patterns", name=f"{500_000:032x}")
        distribution = answers[-1]

    assert all(len(answer["rows"]) == 50 for answer in answers[: len(ORDERS) + 3])
    assert [row["name"] for row in by_id["rows"]] == ["pattern 500000"]
    assert parts["patterns"] == pytest.approx(ROWS, rel=0.1)
    assert len(part["rows"]) > 0 if part["percent_read"] < WHOLE else len(part["rows"]) == 11
    assert distribution["patterns"] == pytest.approx(ROWS, rel=0.02)
    assert distribution["bands"]["poor"] == pytest.approx(ROWS / 2, rel=0.1)


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that cannot be read in 150 ms are sampled: 64 blocks, in which a fifth of the rows are good."""
    monkeypatch.setitem(database_module._SERVER_SETTINGS, "statement_timeout", "150ms")
    monkeypatch.setattr(database_module, "SAMPLE_BLOCKS", 64)


@pytest.mark.usefixtures("small_samples")
async def test_a_sample_is_said_to_be_one_and_can_be_paged_through(million_url: str) -> None:
    async with asking(million_url) as questions:
        distribution = await questions.ask_json("distribution")
        seen, after = list[float](), dict[str, str]()
        for _ in range(100):
            page = await questions.ask_json("patterns", order="worst", **after)
            assert page["percent_read"] < 1
            seen += [row["quality_score"] for row in page["rows"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}

    assert distribution["percent_read"] < 1
    assert distribution["patterns"] == pytest.approx(ROWS, rel=0.02)
    assert 0 < distribution["rows_read"] < ROWS / 100
    assert len(seen) > 50
    assert seen == sorted(set(seen))
    assert len(seen) < ROWS / 100


@pytest.mark.usefixtures("small_samples")
async def test_an_id_is_found_by_its_first_digits_even_where_a_sample_is_read(million_url: str) -> None:
    async with asking(million_url) as questions:
        begun = await questions.ask_json("patterns", name=f"{500_000:032x}"[:31])
        whole = await questions.ask_json("patterns", name=f"{500_000:032x}")

    assert begun["percent_read"] < 1
    assert [row["name"] for row in begun["rows"]] == [f"pattern {n}" for n in range(500_015, 499_999, -1)]
    assert (whole["percent_read"], len(whole["rows"])) == (100, 1)


@pytest.mark.usefixtures("small_samples")
async def test_digits_that_many_ids_begin_with_are_looked_for_in_the_sample_too(million_url: str) -> None:
    """The first 10,000 of them, which the index finds, are poor, and none is good."""
    async with asking(million_url) as questions:
        poor = await questions.ask_json("patterns", name="00000000", order="worst", band="poor")
        good = await questions.ask_json("patterns", name="00000000", order="name", band="good")

    assert [row["name"] for row in poor["rows"]] == [f"pattern {n}" for n in range(1, 51)]
    assert good["percent_read"] < 1
    assert good["rows"]
    assert all(row["band"] == "good" for row in good["rows"])


async def test_all_ids_are_paged_through_by_their_index(million_url: str) -> None:
    connection = await asyncpg.connect(million_url)
    plan = await connection.fetch(f"EXPLAIN {statement('select_pattern_range')}", f"{900_000:032x}", 51)
    await connection.close()
    async with asking(million_url) as questions:
        page = await questions.ask_json("patterns", order="id", after=f"{ROWS - 20:032x}")

    assert "Index Scan using pattern_quality_metrics_pattern_id_unique" in str(plan)
    assert [row["name"] for row in page["rows"]] == [f"pattern {n}" for n in range(ROWS - 20, ROWS + 1)]
    assert page["next"] is None


# Limits


async def test_its_connections_can_write_nothing_and_wait_for_nothing(database: Database) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await database.fetch("INSERT INTO ingest_gaps VALUES ('g', 't', 0, 1, 2)")
    with pytest.raises(asyncpg.QueryCanceledError):
        await database.fetch("SELECT pg_sleep(30)")


async def test_a_table_that_is_locked_is_reported_and_not_waited_for(
    questions: Questions, migrated_database_url: str
) -> None:
    connection = await asyncpg.connect(migrated_database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE")
        locked = await questions.ask("patterns")
    freed = await questions.ask("patterns")
    await connection.close()

    assert (locked.status, locked.json["error"]) == (503, "database")
    assert "another session holds a lock" in locked.json["hint"]
    assert freed.status == 200


async def test_it_takes_no_lock_that_a_writer_would_feel(database: Database) -> None:
    modes = await database.fetch(
        "SELECT DISTINCT mode FROM pattern_quality_current RIGHT JOIN pg_locks ON true "
        "WHERE pid = pg_backend_pid() AND locktype = 'relation'"
    )

    assert [row["mode"] for row in modes] == ["AccessShareLock"]


async def test_any_number_of_clients_share_two_connections_and_idle_ones_are_closed(
    migrated_database_url: str,
) -> None:
    watcher = await asyncpg.connect(migrated_database_url)

    async def connections() -> int:
        count: int = await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pattern-metrics page' "
            "AND datname = current_database()"
        )
        return count

    async def are_gone() -> bool:
        return await connections() == 0

    async with asking(migrated_database_url, timing=Timing(page_idle=0.5)) as questions:
        asked = [asyncio.create_task(questions.ask("patterns", name=f"{number}")) for number in range(40)]
        most = 0
        while not all(task.done() for task in asked):
            most = max(most, await connections())
        statuses = {task.result().status for task in asked}
        await eventually(are_gone)
    await watcher.close()

    assert 1 <= most <= READER_CONNECTIONS_MAX
    assert statuses <= {200, 503}


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("patterns", {"order": "backwards"}),
        ("patterns", {"band": "splendid"}),
        ("patterns", {"after": "[" * 3000}),
        ("patterns", {"after": "[1]"}),
        ("patterns", {"after": '["x", 1, 2]'}),
        ("patterns", {"after": "1"}),
        ("patterns", {"name": "\0"}),
        ("patterns", {"order": "id", "after": "no id"}),
        ("patterns/no-id", {}),
        ("dead-letters", {"after": '["2026-01-01", "t", 1, 2]'}),
        ("dead-letters", {"after": json.dumps(["2026-01-01", "t", 2**40, 1, 1])}),
        ("dead-letter", {"topic": "t", "partition": "x"}),
        ("dead-letter", {"topic": "t", "partition": 1, "offset": 2**70, "timestamp": 1}),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    questions: Questions, path: str, parameters: dict[str, object]
) -> None:
    answer = await questions.ask(path, **parameters)

    assert (answer.status, answer.json["error"]) == (400, "request")


@pytest.mark.parametrize(
    "path",
    [
        "v1/patterns/00000000-0000-0000-0000-000000000001",
        "v1/dead-letter?topic=t&partition=0&offset=0&timestamp=0",
    ],
)
async def test_a_missing_thing_is_reported_as_missing(questions: Questions, path: str) -> None:
    answer = await questions.scraper.ask(f"/{path}")

    assert (answer.status, answer.json["error"]) == (404, "absent")


@pytest.mark.parametrize(
    "path", ["/static/page.py", "/static/..%2fpage.py", "/static/%2e%2e/page.py", "/static/"]
)
async def test_nothing_but_the_assets_is_served(questions: Questions, path: str) -> None:
    assert (await questions.scraper.ask(path)).status == 404


async def test_a_database_without_the_tables_is_reported_with_the_remedy(database_url: str) -> None:
    async with asking(database_url) as questions:
        answer = await questions.ask("distribution")

    assert answer.status == 503
    assert "pattern-metrics migrate up" in answer.json["hint"]


async def test_a_slow_answer_is_reported_and_ready_for_the_next_client(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()

    async def distribution(_: PatternReader) -> dict[str, int]:
        while not released.is_set():
            await asyncio.to_thread(lambda: None)  # the event belongs to another loop
        return {"patterns": 5}

    monkeypatch.setattr(PatternReader, "distribution", distribution)
    async with asking(migrated_database_url, timing=Timing(page=0.2)) as asked:

        async def is_answered() -> bool:
            answer = await asked.ask("distribution")
            return answer.status == 200 and bool(answer.json["patterns"] == 5)

        slow = await asked.ask("distribution")
        released.set()
        await eventually(is_answered)

    assert (slow.status, slow.json["error"]) == (503, "slow")


# A worker's rate


class Falling(Metrics):
    """The metrics of a worker that writes a record each time they are read."""

    looks = 0

    @override
    def lags(self) -> dict[Partition, Lag]:
        self.looks += 1
        return {("scores", 0): Lag(1_000_000 - self.looks, 1.0)}

    @override
    def outcomes(self) -> dict[str, int]:
        return {"applied": self.looks}


async def test_the_first_reading_of_a_worker_gives_its_rate(migrated_database_url: str) -> None:
    metrics = Falling()
    async with asking(migrated_database_url, Watched(Health(), metrics, "group", ["scores"])) as questions:
        await eventually(lambda: metrics.looks > 2)
        progress_shown = await questions.ask_json("progress")

    assert progress_shown["worker"]["records_per_second"] > 0
    assert progress_shown["worker"]["seconds_until_clear"] > 0
    assert [one["seconds_until_clear"] > 0 for one in progress_shown["partitions"]] == [True]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, None), (4.9, None), (-5.1, "PostgreSQL's clock is 5.1 s behind")]
)
async def test_clocks_that_differ_are_shown(
    migrated_database_url: str, seconds: float | None, shown: str | None
) -> None:
    metrics = Metrics()
    if seconds is not None:
        metrics.clocks_compared(seconds)
    async with asking(migrated_database_url, Watched(Health(), metrics, "group", "scores")) as questions:
        clocks = (await questions.ask_json("progress"))["worker"]["clocks"]

    assert clocks is None if shown is None else clocks.startswith(shown)


# Search


async def test_digits_find_ids_that_begin_so_and_names_with_every_filter_and_in_order(
    questions: Questions, migrated_database_url: str
) -> None:
    begins, whole = "deadbeef", UUID(int=0xDEADBEEF << 96 | 1)
    await fill(
        migrated_database_url,
        [
            an_event(1, pattern_id=whole, score=0.95, metadata={"name": "by id"}),
            an_event(2, pattern_id=UUID(int=whole.int + 1), score=0.2, metadata={"name": "by id, poor"}),
            an_event(3, pattern_id=UUID(int=whole.int + 2), score=0.3, metadata={"name": f"both {begins}"}),
            an_event(4, score=0.97, version="2.0.0", metadata={"name": f"by name {begins.upper()}"}),
            an_event(5, score=0.96, metadata={"name": f"md5 {whole.hex[:31]}f"}),
            an_event(6, score=0.1),
        ],
    )

    async def found(search: str, **parameters: str) -> list[str]:
        return [
            row["name"] for row in (await questions.ask_json("patterns", name=search, **parameters))["rows"]
        ]

    by_name = f"by name {begins.upper()}"
    md5 = f"md5 {whole.hex[:31]}f"
    assert await found(begins) == [by_name, md5, "by id", f"both {begins}", "by id, poor"]
    assert await found(begins.upper(), order="worst", band="poor") == ["by id, poor", f"both {begins}"]
    assert await found(begins, version="2.0.0") == [by_name]
    assert await found(str(whole)) == ["by id"]
    assert await found(str(whole), band="poor") == []
    assert await found(str(whole), version="2.0.0") == []
    assert await found(f"{whole.hex[:31]}f") == [md5]


# Rows from other software


async def test_rows_that_no_worker_wrote_are_shown_as_well(
    questions: Questions, migrated_database_url: str
) -> None:
    connection = await asyncpg.connect(migrated_database_url)
    await connection.execute(
        """
        INSERT INTO pattern_quality_metrics
            (pattern_id, quality_score, confidence, measurement_timestamp, version, metadata)
        VALUES
            ('00000000-0000-0000-0000-000000000001', 1, 1, 'infinity', NULL, NULL),
            ('00000000-0000-0000-0000-000000000002', 0, 0, '-infinity', '', '[1, {"name": 2}]'),
            ('00000000-0000-0000-0000-000000000003', 0.5, 0, '4714-11-24 BC', 'v', '{"name": {"a": 1e400}}'),
            ('00000000-0000-0000-0000-000000000004', 0.5, 0, '294276-01-01', 'v', '"text"')
        """
    )
    await connection.close()
    pages = [await questions.ask_json("patterns", order=order) for order in sorted(ORDERS)]
    wholes = [(await questions.ask_json(f"patterns/{number:032x}"))["stored"] for number in range(1, 5)]
    distribution = await questions.ask_json("distribution")

    assert [len(page["rows"]) for page in pages] == [4] * len(ORDERS)
    assert [whole["measurement_timestamp"] for whole in wholes][:2] == ["infinity", "-infinity"]
    assert distribution["patterns"] == 4


@pytest.mark.parametrize(
    "parameter",
    ["role=nobody_of_that_name", "work_mem=never", "options=-c%20role%3Dnobody_of_that_name"],
)
async def test_a_session_that_postgresql_refuses_is_a_fault_of_the_configuration(
    parameter: str, migrated_database_url: str
) -> None:
    """PostgreSQL uses the SQLSTATE of a wrong value in a row for it."""
    async with asking(f"{migrated_database_url}?{parameter}") as questions:
        answer = await questions.ask("patterns")

    assert (answer.status, answer.json["error"]) == (503, "database")
    assert "parameters after the ? of DATABASE_URL" in answer.json["hint"]


HOSTILE_METADATA: list[dict[str, Any]] = [
    {},
    {"name": 5, "dimensions": 5},
    {"name": {"a": "b"}, "dimensions": ["completeness", 0.5]},
    {"name": "", "dimensions": {"a": -0.1, "b": 1.1, "c": True, "d": "0.5", "e": None, "f": {"g": 0.5}}},
    {"name": " " * 60, "dimensions": {"": 0.5, " ": 0.5, "\u202eevil": 0.5}},
    {"name": "x" * 60_000, "dimensions": {}},
    {"name": None, "dimensions": {f"dimension {number}": 0.5 for number in range(2500)}},
    {"dimensions": {"d" * 20_000: 0.5, "e" * 20_000: 0.25}},
    {"name": ["a"], "dimensions": {"completeness": {"completeness": 1}, "ours": 1}},
]


async def test_hostile_metadata_is_bounded_and_no_two_patterns_look_alike(
    questions: Questions, migrated_database_url: str
) -> None:
    count = len(HOSTILE_METADATA)
    events = [
        an_event(number, score=0.5, metadata=HOSTILE_METADATA[number % count]) for number in range(5 * count)
    ]
    later = [
        an_event(number, seconds=9, score=0.6, metadata=event.metadata) for number, event in enumerate(events)
    ]
    await fill(migrated_database_url, [*events, *later])
    connection = await asyncpg.connect(migrated_database_url)
    await connection.execute(
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, metadata) VALUES "
        "('ffffffff-0000-0000-0000-000000000000', 0.6, 1, $1::text::jsonb)".replace(
            "$1", '\'{"dimensions": {"a": 1e400, "b": 1}, "name": 1e400}\''
        )
    )
    await connection.close()

    answers = [await questions.ask("patterns", order=order) for order in sorted(ORDERS)]
    answers.append(await questions.ask("changes"))
    shown = [row for answer in answers for row in answer.json["rows"]]
    wholes = [await questions.ask_json(f"patterns/{number:032x}") for number in range(count)]

    assert len(shown) > 6 * len(events)
    assert {row["name"] == row["pattern_id"] for row in [*shown, *wholes]} == {True}
    dimensions = [one for row in [*shown, *wholes] for one in row["dimensions"]]
    assert all(one["value"] is None or 0 <= one["value"] <= 1 for one in dimensions)
    assert max(len(one["name"]) for one in dimensions) <= 60
    assert max(len(row["dimensions"]) for row in shown) == 20
    assert [row["dimensions_left_out"] for row in wholes] == [0, 0, 0, 0, 0, 0, 2480, 0, 0]
    assert [len(row["dimensions"]) for row in wholes] == [0, 0, 0, 0, 3, 0, 20, 2, 1]
    assert max(len(answer.body) for answer in answers) < 100_000


async def test_a_large_dead_letter_is_cut_at_a_whole_character(
    questions: Questions, migrated_database_url: str
) -> None:
    text = "x" + "ä" * 100_000
    await fill(migrated_database_url, [text.encode(), b"\xff" * 100_000])
    page = await questions.ask_json("dead-letters")
    letters = {
        letter["offset"]: await questions.ask_json(
            "dead-letter",
            topic=letter["topic"],
            partition=letter["partition"],
            offset=letter["offset"],
            timestamp=letter["record_timestamp"],
        )
        for letter in page["rows"]
    }

    assert text.startswith(letters["0"]["value"])
    assert len(letters["0"]["value"].encode()) == 64 * 1024 - 1
    assert letters["0"]["value_bytes"] == len(text.encode())
    assert letters["1"]["value_hex"] == "ff" * 64 * 1024


async def test_dead_letters_are_paged_through_the_newest_first(
    questions: Questions, migrated_database_url: str
) -> None:
    """The letters of one batch have the same time."""
    for first in (0, 60):
        await fill(migrated_database_url, [b"no JSON"] * 60, first_offset=first)
    seen, after = list[str](), dict[str, str]()
    while True:
        page = await questions.ask_json("dead-letters", reason="invalid_json", **after)
        seen += [letter["offset"] for letter in page["rows"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert seen == [str(offset) for offset in reversed(range(120))]


async def test_the_largest_changes_come_from_the_history(
    questions: Questions, migrated_database_url: str
) -> None:
    await fill(
        migrated_database_url, [an_event(1, score=0.5), an_event(2, score=0.5), an_event(3, score=0.5)]
    )
    await fill(
        migrated_database_url,
        [an_event(1, 9, score=0.6), an_event(2, 9, score=0.1), an_event(2, 5, score=0.9), an_event(3, 9)],
    )
    changed = await questions.ask_json("changes")

    assert changed["has_history"]
    assert [(row["name"], round(row["change"], 3)) for row in changed["rows"]] == [
        ("pattern 2", -0.8),
        ("pattern 1", 0.1),
    ]
