"""`pattern-metrics dead-letters`: the selection of letters, and their outcome."""

import json
from datetime import UTC, datetime, timedelta

from pattern_metrics.schemas.dead_letter import RejectReason
from tests.support.command import CommandLine, Finished
from tests.support.letters import a_record, add_letters, run_sql, statuses
from tests.support.pipeline import an_event


def offsets(finished: Finished) -> set[int]:
    return {json.loads(line)["offset"] for line in finished.succeeded().stdout.splitlines()}


async def test_letters_are_selected_by_reason_topic_and_time_and_get_their_status(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    url, run = migrated_database_url, database_command.run
    headers = (("ce_source", b"urn:agent"),)
    await add_letters(url, [a_record(1, b"[]")], RejectReason.NOT_AN_OBJECT)
    await add_letters(url, [a_record(2, b"{}", "other")], RejectReason.MISSING_FIELD)
    await add_letters(url, [a_record(3, an_event(1).to_json(), headers=headers), a_record(4, b"x")])
    await run_sql(url, """UPDATE dead_letters SET noticed_at = '2026-01-01' WHERE "offset" = 1""")
    recently = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    by_reason = await run("dead-letters", "list", "--json", "--reason", "not_an_object")
    by_topic = await run("dead-letters", "list", "--json", "--topic", "scores")
    by_time = await run("dead-letters", "list", "--json", "--topic", "scores", "--since", recently)
    shown = (await run("dead-letters", "show", "scores/0/3")).succeeded().stdout.decode()
    redriven = await run("dead-letters", "redrive", "--topic", "scores", "--since", recently, "--json")
    await run("dead-letters", "discard", "--topic", "other", "--because", "a test")
    by_then = await statuses(url)
    still_open = await run("dead-letters", "list", "--json")
    await run_sql(
        url,
        """UPDATE dead_letters SET resolved_at = '2026-01-01' WHERE status <> 'open';
        UPDATE dead_letters SET noticed_at = '2026-01-01'""",
    )
    pruned = await run("dead-letters", "prune", "--older-than", "30d", "--json")

    assert offsets(by_reason) == {1}
    assert offsets(by_topic) == {1, 3, 4}
    assert offsets(by_time) == {3, 4}
    assert "ce_source" in shown
    assert "urn:agent" in shown
    assert str(an_event(1).pattern_id) in shown
    assert "pattern-metrics dead-letters redrive scores/0/3" in shown
    assert redriven.code == 1
    assert redriven.json == {"read": 2, "applied": 1, "superseded": 0, "dead_letters": 1}
    assert by_then == {1: "open", 2: "discarded", 3: "redriven", 4: "open"}
    assert offsets(still_open) == {1, 4}
    assert pruned.succeeded().json == {"pruned": 2}
    assert await statuses(url) == {1: "open", 4: "open"}
