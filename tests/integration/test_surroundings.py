"""Settings and objects that others add to the database change nothing of the stored data, or are refused."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import pytest

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose, diagnose_beyond_rows
from pattern_metrics.consumer.faults.driver import RefusedSessionError
from pattern_metrics.consumer.postgres.connection import connect
from pattern_metrics.consumer.postgres.shadow import ShadowStore
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.schemas.pattern_scored import PatternScored
from pattern_metrics.schemas.settings.database_url import InvalidDatabaseUrlError, parse_database_url
from pattern_metrics.schemas.settings.timing import TIMING, Timing
from tests.support.batches import a_batch, write
from tests.support.pipeline import an_event
from tests.support.waiting import eventually

# Settings of the session

STORED = """
    SELECT pattern_id::text AS key, md5(metrics::text) AS row FROM (
        SELECT pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata
        FROM pattern_quality_metrics
    ) AS metrics
    UNION ALL SELECT 'history ' || pattern_id, md5(version || metadata::text || measurement_timestamp)
    FROM pattern_quality_history
    UNION ALL SELECT 'letter ' || "offset", md5(concat(value, key, headers, detail, reason)) FROM dead_letters
    ORDER BY 1
"""

# An operator's trigger, which reads the text and derives values from it.
TRIGGER = r"""
    CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.version := NEW.version || '\n' || length(NEW.metadata::text); RETURN NEW; END $$;
    CREATE TRIGGER mark BEFORE INSERT OR UPDATE ON pattern_quality_metrics
        FOR EACH ROW EXECUTE FUNCTION mark();
"""

CHOICES = """
    SELECT name, unnest(coalesce(enumvals, ARRAY['on', 'off'])) AS value
    FROM pg_settings
    WHERE context IN ('user', 'superuser') AND vartype IN ('bool', 'enum')
        -- They change what the server does for its developers, or whether it reads damaged pages.
        AND category <> 'Developer Options'
    UNION ALL
    VALUES ('client_encoding', 'LATIN1'), ('client_encoding', 'WIN1252'), ('client_encoding', 'SQL_ASCII'),
        ('DateStyle', 'SQL, DMY'), ('DateStyle', 'German'), ('TimeZone', 'Asia/Kathmandu'),
        ('extra_float_digits', '-15'), ('IntervalStyle', 'postgres_verbose'), ('lc_numeric', 'C'),
        ('lc_monetary', 'C'), ('search_path', 'public'), ('gin_fuzzy_search_limit', '1'),
        ('default_text_search_config', 'simple'), ('vacuum_cost_delay', '1'), ('work_mem', '64kB'),
        ('temp_buffers', '800kB'), ('statement_timeout', '9s'), ('lock_timeout', '9s')
"""

TOGETHER = 8

FAIL_ALOUD = {
    *("default_transaction_read_only", "transaction_read_only"),
    *("transaction_isolation", "transaction_deferrable"),
}

AWKWARD: list[PatternScored | bytes | None] = [
    an_event(
        1, event=1, version="1 ü \\n 'x'", metadata={"name": "Grüße 😀 \\ ' \" 01.02.03", "n": [1e-7, 0.1]}
    ),
    an_event(2, event=2, version="\\", metadata={}),
    b"\xff\x00 not an event \\ '",
]


FORGET = "; ".join(
    f"DELETE FROM {table}"
    for table in ("pattern_quality_metrics", "pattern_quality_history", "dead_letters", "ingest_progress")
)
"""For a few rows this takes less than TRUNCATE, which makes new files."""


async def stored_by(url: str, database: Any) -> list[asyncpg.Record]:
    await database.execute(FORGET)
    store = Store(url, keeps_history=True)
    try:
        await write(store, a_batch(AWKWARD))
    finally:
        await store.close()
    rows: list[asyncpg.Record] = await database.fetch(STORED)
    return rows


def in_groups(choices: Iterable[tuple[str, str]], size: int) -> list[dict[str, str]]:
    """Return values by name, each choice in one group, and no name twice in a group."""
    groups = list[dict[str, str]]()
    for name, text in choices:
        for group in groups:
            if len(group) < size and name not in group:
                break
        else:
            groups.append(group := {})
        group[name] = text
    return groups


@pytest.mark.parametrize("form", ["parameter", "options"])
async def test_no_setting_in_the_url_changes_what_is_stored(
    any_migrated_database_url: str, database: Any, form: str
) -> None:
    """Each setting that a session may choose, with each value: stored alike, refused, or an error.

    As a parameter each value is alone. In the options, several are together, and alone if they fail.
    """
    await database.execute(TRIGGER)
    expected = await stored_by(any_migrated_database_url, database)
    assert len(expected) == 5
    stored = 0
    errors = dict[str, Exception]()
    is_parameter = form == "parameter"
    waiting = in_groups(await database.fetch(CHOICES), 1 if is_parameter else TOGETHER)
    while waiting:
        group = waiting.pop()
        options = ["-c {}={}".format(name, text.replace(" ", "\\ ")) for name, text in group.items()]
        pairs = group if is_parameter else {"options": " ".join(options)}
        url = f"{any_migrated_database_url}?{urlencode(pairs, quote_via=quote)}"
        try:
            found = await stored_by(url, database)
        except (InvalidDatabaseUrlError, asyncpg.PostgresError, OSError) as error:
            if len(group) > 1:
                waiting += [{name: text} for name, text in group.items()]
            else:
                errors |= dict.fromkeys(group, error)
        else:
            assert found == expected, group
            stored += len(group)

    assert stored > 100
    refused = {
        name: str(error) for name, error in errors.items() if isinstance(error, InvalidDatabaseUrlError)
    }
    assert refused.keys() == {"client_encoding", "standard_conforming_strings", "session_replication_role"}
    assert all(name in message for name, message in refused.items())
    assert errors.keys() - refused.keys() <= FAIL_ALOUD
    assert {diagnose_beyond_rows(error).fault for error in errors.values()} <= {
        Fault.CONFIGURATION,
        Fault.TRANSIENT,
    }


@pytest.mark.parametrize(
    "text",
    [
        "client_encoding=latin1",
        "Client_Encoding=LATIN1",
        "options=-c%20client_encoding%3Dlatin1",
        "options=-cclient_encoding%3Dlatin1",
        "options=--client-encoding%3Dlatin1",
        "options=-c%20geqo%3Doff%20-c%20CLIENT_ENCODING%3Dlatin1",
        "options=-c%20client%5C_encoding%3Dlatin1",
        "standard_conforming_strings=off",
        "options=--session-replication-role%3Dreplica",
    ],
)
def test_a_setting_that_would_change_the_data_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match=r"remove \w+: it would change what is stored"):
        parse_database_url(f"postgresql://h/m?{text}")


@pytest.mark.parametrize("text", ["search_path=a,b", "options=-c%20geqo%3Doff", "application_name=client"])
def test_other_settings_may_stay_in_the_url(text: str) -> None:
    assert parse_database_url(f"postgresql://h/m?{text}").parameters


async def test_settings_of_the_database_do_not_reach_a_batch(
    any_migrated_database_url: str, database: Any
) -> None:
    name = any_migrated_database_url.rpartition("/")[2]
    for setting, text in (
        ("default_transaction_isolation", "serializable"),
        ("standard_conforming_strings", "off"),
        ("client_encoding", "LATIN1"),
    ):
        await database.execute(f"ALTER DATABASE {name} SET {setting} = '{text}'")
    store = Store(any_migrated_database_url)
    async with store.transaction() as transaction:
        found = await transaction.connection.fetchrow(
            "SELECT current_setting('transaction_isolation'), "
            "current_setting('standard_conforming_strings'), current_setting('client_encoding')"
        )
    await store.close()

    assert tuple(found or ()) == ("read committed", "on", "UTF8")


async def test_a_setting_of_the_url_is_the_sessions(migrated_database_url: str) -> None:
    pairs = {"search_path": '"a, b",public', "role": "pattern_metrics_worker", "x.y": "it's \\ 1"}
    connection = await connect(f"{migrated_database_url}?{urlencode(pairs)}")
    try:
        found = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in pairs}
    finally:
        await connection.close()

    assert found == pairs


@pytest.mark.parametrize(
    "setting",
    [
        *("connect_timeout=10", "max_connections=5", "block_size=8192", "ssl=true", "log_connections=on"),
        *("is_superuser=off", "transaction_isolation=serializable", "role=nobody", "work_mem=many"),
    ],
)
async def test_a_setting_that_the_server_refuses_is_named(migrated_database_url: str, setting: str) -> None:
    with pytest.raises(
        RefusedSessionError, match="(?i)" + setting.partition("=")[0].replace("_", "[_ ]")
    ) as caught:
        await connect(f"{migrated_database_url}?{setting}")

    assert diagnose(caught.value).fault is Fault.CONFIGURATION


# The stage

AGES = """
    SELECT coalesce(max(age(relfrozenxid)), -1) FROM pg_class
    WHERE relpersistence = 't' AND relkind IN ('r', 't', 'm')
"""


async def use_up_transactions(database: Any, count: int) -> None:
    for _ in range(count):
        await database.execute("SELECT pg_current_xact_id()")


async def test_the_stage_does_not_age_with_its_connection(
    any_migrated_database_url: str, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(any_migrated_database_url)
    await write(store, a_batch([an_event(1)]))
    await use_up_transactions(database, 200)
    assert await database.fetchval(AGES) >= 200
    backend = await backend_of(store)
    monkeypatch.setattr(store, "_stage_renewed_at", -TIMING.stage)

    assert await backend_of(store) == backend
    assert 0 <= await database.fetchval(AGES) < 100
    assert await write(store, a_batch([an_event(1, seconds=1)])) == Accounting(applied=1)
    await store.close()


async def backend_of(store: Store) -> int:
    async with store.transaction() as transaction:
        backend: int = await transaction.connection.fetchval("SELECT pg_backend_pid()")
        return backend


async def test_a_connection_that_nobody_uses_is_closed_with_its_stage(
    any_migrated_database_url: str, database: Any
) -> None:
    store = Store(any_migrated_database_url, timing=Timing(stage=0.1))
    await write(store, a_batch([an_event(1)]))

    async def is_gone() -> bool:
        return bool(await database.fetchval(AGES) == -1)

    await eventually(is_gone)
    assert await write(store, a_batch([an_event(1, seconds=1)])) == Accounting(applied=1)
    await store.close()


async def test_a_shadow_outlives_any_pause(any_migrated_database_url: str, database: Any) -> None:
    shadow = ShadowStore(any_migrated_database_url, loads_rows=True, timing=Timing(stage=0.1))
    store = Store(any_migrated_database_url, timing=Timing(stage=0.1))
    await write(shadow, a_batch([an_event(1, event=1)]))
    await write(store, a_batch([an_event(2)]))

    async def is_the_store_gone() -> bool:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return bool(await database.fetchval(others) == 2)

    await eventually(is_the_store_gone)
    assert await write(shadow, a_batch([an_event(1, event=1)])) == Accounting(superseded=1)
    await shadow.close()


# Columns of others


def generated(kind: str) -> str:
    return f"ADD COLUMN doubled double precision GENERATED ALWAYS AS (quality_score * 2) {kind} {{}}"


COLUMNS: dict[str, str] = {
    "generated": generated("STORED"),
    "generated and checked": generated("STORED") + ", ADD CHECK (doubled <> 1.5)",
    "generated, never null": generated("STORED").format("NOT NULL"),
    "virtual": generated("VIRTUAL"),
    "identity": "ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY",
    "identity by default": "ADD COLUMN number bigint GENERATED BY DEFAULT AS IDENTITY UNIQUE",
    "several": "ADD COLUMN a int, ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY, ADD COLUMN b text "
    "DEFAULT 'x', " + generated("STORED") + "; ALTER TABLE pattern_quality_metrics DROP COLUMN a",
    "oddly named": 'ADD COLUMN "a ""b"", c" text GENERATED ALWAYS AS (version || \'!\') STORED',
}


@pytest.mark.parametrize("columns", COLUMNS)
async def test_a_dry_run_shows_what_a_run_does_beside_columns_of_others(
    any_migrated_database_url: str, database: Any, columns: str
) -> None:
    if columns == "virtual" and database.get_server_version().major < 18:
        pytest.skip("virtual columns came with PostgreSQL 18")
    await write_all(Store(any_migrated_database_url), [a_batch([an_event(1), an_event(2), an_event(3)])])
    await database.execute(f"ALTER TABLE pattern_quality_metrics {COLUMNS[columns].format('')}")
    rows = await database.fetch("SELECT * FROM pattern_quality_metrics ORDER BY pattern_id")
    batches = [
        a_batch([an_event(1, seconds=1, score=0.25), an_event(2, seconds=-1), an_event(4, score=0.5)]),
        a_batch([an_event(4, seconds=1, score=0.75), an_event(5, score=0.125), b"poison"]),
    ]

    dry = await write_all(ShadowStore(any_migrated_database_url, loads_rows=True), batches)
    assert await database.fetch("SELECT * FROM pattern_quality_metrics ORDER BY pattern_id") == rows
    assert dry == await write_all(Store(any_migrated_database_url), batches)
    assert dry[0].superseded == 1
    assert dry[1].dead_letters == (2 if "checked" in columns else 1)


async def write_all(store: Store, batches: list[Any]) -> list[Accounting]:
    accountings = [await write(store, batch) for batch in batches]
    await store.close()
    return accountings


# Publications


@pytest.mark.parametrize("keeps_history", [False, True])
async def test_a_publication_of_all_tables_takes_every_batch(
    any_migrated_database_url: str, database: Any, keeps_history: bool
) -> None:
    await database.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    store = Store(any_migrated_database_url, keeps_history=keeps_history)

    accountings = await write_all(
        store, [a_batch([an_event(1, event=number), b"poison"], first_offset=number) for number in (1, 2)]
    )

    assert accountings == [Accounting(applied=1, dead_letters=1)] * 2


async def test_a_table_that_cannot_be_published_is_the_operators_to_mend(
    any_migrated_database_url: str, database: Any
) -> None:
    await database.execute(
        "ALTER TABLE pattern_quality_history REPLICA IDENTITY NOTHING; "
        "CREATE PUBLICATION everything FOR ALL TABLES"
    )
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError) as caught:
        await write_all(Store(any_migrated_database_url, keeps_history=True), [a_batch([an_event(1)])])

    diagnosis = diagnose(caught.value)
    assert diagnosis.fault is Fault.CONFIGURATION
    assert "replica identity (run `pattern-metrics migrate up`)" in diagnosis.hint
