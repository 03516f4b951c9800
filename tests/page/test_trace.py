"""The search for an event on the page."""

import pytest
from playwright.async_api import Browser

from tests.page.conftest import fill
from tests.support.browser import visiting
from tests.support.pipeline import an_event

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's loop


async def test_an_event_is_looked_up_by_its_id(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    first, second = an_event(1), an_event(1, seconds=60)
    invalid = an_event(2).to_json().replace(b'"confidence":0.9', b'"confidence":7')
    await fill(migrated_database_url, [first, second, invalid])

    async with visiting(browser, address) as visit:
        await visit.go("ingestion")
        found = dict[str, str]()
        for name, event_id in (
            ("in history", str(first.event_id)),
            ("current", str(second.event_id)),
            ("dead letter", invalid.split(b'"event_id":"')[1][:36].decode()),
            ("not found", str(an_event(3).event_id)),
        ):
            await visit.page.get_by_label("Event", exact=True).fill(event_id)
            await visit.page.get_by_role("button", name="Trace").click()
            await visit.page.locator("[role=status] strong", has_text=name).wait_for()
            found[name] = await visit.page.locator("[role=status]").inner_text()

    assert str(second.event_id) in found["in history"]
    assert str(second.pattern_id) in found["current"]
    assert "out of range" in found["dead letter"]
    assert "pattern-metrics trace" in found["not found"]
