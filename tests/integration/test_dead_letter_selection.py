"""Selections of letters, and discarding and pruning them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pattern_metrics.consumer.dead_letters.letters import (
    count_letters,
    discard,
    list_letters,
    missing,
    prune,
)
from pattern_metrics.consumer.dead_letters.selection import Coordinates, Selection
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.schemas.dead_letter import RejectReason
from tests.support.letters import TOPIC, a_record, add_letters, letters, run_redrive, run_sql, statuses
from tests.support.pipeline import an_event


async def offsets(url: str, selection: Selection) -> list[int]:
    found = [letter.record.offset for letter in await letters(url, selection)]
    assert await count_letters(url, selection) == len(found)
    listed = list[dict[str, Any]]()
    await list_letters(url, selection, None, listed.append)
    assert sorted(row["offset"] for row in listed) == sorted(found)
    return found


async def test_every_statement_understands_the_same_selection(migrated_database_url: str) -> None:
    url = migrated_database_url
    await add_letters(url, [a_record(0, b""), a_record(1, b"")], RejectReason.INVALID_JSON)
    await add_letters(url, [a_record(2, b"", "other")], RejectReason.INVALID_JSON)
    await add_letters(url, [a_record(3, b"{}")], RejectReason.MISSING_FIELD)
    await run_sql(url, "UPDATE dead_letters SET noticed_at = '2020-01-01Z' WHERE \"offset\" = 1")
    since = datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)
    places = [Coordinates(TOPIC, 0, 1), Coordinates("other", 0, 2), Coordinates("other", 0, 3)]
    selections: list[tuple[Selection, set[int]]] = [
        (Selection(reason=RejectReason.MISSING_FIELD), {3}),
        (Selection(topic=TOPIC), {0, 1, 3}),
        (Selection(topic="\0\udcff"), set()),
        (Selection(since=since), {0, 2, 3}),
        (Selection(coordinates=places), {1, 2}),
        (Selection(topic=TOPIC, reason=RejectReason.INVALID_JSON, since=since), {0}),
        (Selection(), {0, 1, 2, 3}),
    ]

    for selection, expected in selections:
        assert set(await offsets(url, selection)) == expected
        assert (await run_redrive(url, selection)).read == len(expected)
    await discard(url, Selection(topic="other"), "gone")
    assert await offsets(url, Selection(status="discarded")) == [2]
    assert await missing(url, places) == places[2:]
    for selection, expected in selections:
        assert await discard(url, selection, "all") == len(expected - {2})
        await run_sql(
            url,
            "UPDATE dead_letters SET status = 'open', resolved_at = NULL WHERE topic = 'scores'",
        )


async def test_the_newest_letters_are_listed_first_up_to_a_limit(migrated_database_url: str) -> None:
    for offset in (5, 3, 4):
        await add_letters(migrated_database_url, [a_record(offset, b"")])
    listed = list[dict[str, Any]]()

    await list_letters(migrated_database_url, Selection(), 2, listed.append)

    assert [row["offset"] for row in listed] == [4, 3]
    assert listed[0].keys() >= {"topic", "partition", "offset", "reason", "detail"}
    assert "value" not in listed[0]


async def test_all_letters_of_one_place_in_a_recreated_topic_are_selected(
    migrated_database_url: str,
) -> None:
    url, place = migrated_database_url, Coordinates(TOPIC, 0, 7)
    await add_letters(
        url,
        [
            a_record(7, an_event(1).to_json(), timestamp=1),
            a_record(7, an_event(2).to_json(), timestamp=2),
            a_record(7, b"nonsense", timestamp=3),
            a_record(8, an_event(3).to_json()),
        ],
    )
    selection = Selection(coordinates=[place])

    assert [letter.record.timestamp for letter in await letters(url, selection)] == [1, 2, 3]
    assert await run_redrive(url, selection) == Accounting(applied=2, dead_letters=1)
    found = [letter.status for letter in await letters(url)]
    assert found == ["redriven", "redriven", "open", "open"]


# Discard and prune


async def test_only_what_was_resolved_long_ago_is_pruned(migrated_database_url: str) -> None:
    url = migrated_database_url
    await add_letters(url, [a_record(0, an_event(1).to_json()), *(a_record(n, b"[]") for n in (1, 2, 3))])
    await run_redrive(url)
    await discard(url, Selection(coordinates=[Coordinates(TOPIC, 0, 1)]), "noise")
    await run_sql(
        url,
        """
        UPDATE dead_letters SET resolved_at = resolved_at - interval '90 days' WHERE "offset" < 2;
        UPDATE dead_letters SET noticed_at = '2000-01-01Z';
        """,
    )
    await discard(url, Selection(coordinates=[Coordinates(TOPIC, 0, 2)]), "noise, too")

    assert await prune(url, datetime.now(UTC) - timedelta(days=91)) == 0
    assert await prune(url, datetime.now(UTC) - timedelta(days=89)) == 2
    assert await statuses(url) == {2: "discarded", 3: "open"}
    assert await prune(url, datetime.now(UTC) + timedelta(days=1)) == 1
    assert await statuses(url) == {3: "open"}


async def test_a_discarded_letter_keeps_its_reasons_and_is_left_out_of_a_redrive(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    record = a_record(0, an_event(1).to_json())
    await add_letters(url, [record])

    assert await discard(url, Selection(), "noise \0") == 1
    assert await discard(url, Selection(), "again") == 0
    assert await run_redrive(url) == Accounting()
    [letter] = await letters(url)
    assert (letter.status, letter.resolution, letter.detail) == ("discarded", "noise \\x00", "as it was")
    assert letter.record.value == record.value
