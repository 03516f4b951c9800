"""The page as a person sees and uses it, in a real browser."""

import json
import re
import time
import uuid
from itertools import count
from urllib.parse import quote

import pytest
from playwright.async_api import Browser

from pattern_metrics.consumer.api import answering as answering_module
from pattern_metrics.consumer.api import cache as cache_module
from pattern_metrics.consumer.api.ingestion import Watched
from pattern_metrics.consumer.api.recent import READING_SECONDS
from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.mcp.text import defused_text
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_retired import PatternRetired
from pattern_metrics.schemas.settings.timing import Clock
from tests.page.conftest import fill, fill_progress
from tests.support.browser import CONTRASTS, LEFTS, UNSEEN, Visit, served, visiting
from tests.support.events import TopicRecord
from tests.support.pipeline import an_event
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's loop

SCORES = {"excellent": 0.95, "good": 0.8, "fair": 0.6, "poor": 0.2}
DIMENSIONS = ("completeness", "documentation", "compliance", "metadata_richness", "complexity")
NAMES = "tbody a.name"
PLACES = ("", "patterns", "modules", "ingestion", "dead-letters")

HOSTILE = '<img src=x onerror="window.ran = 1"><script>window.ran = 1</script>\'"&amp;'
"""A script that runs if a page inserts this as markup."""


async def names(visit: Visit) -> list[str]:
    return await visit.texts(NAMES)


async def test_the_overview_shows_what_there_is(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    dimensions = dict.fromkeys(DIMENSIONS, 0.25)
    events = [
        an_event(number, score=score, metadata={"name": band, "dimensions": dimensions})
        for number, (band, score) in enumerate(SCORES.items())
    ]
    changed = an_event(3, seconds=60, score=0.35, metadata={"name": "poor", "dimensions": dimensions})
    await fill(migrated_database_url, [*events, b"no JSON", changed])

    async with visiting(browser, address) as visit:
        await visit.go()
        await visit.page.locator(".ranking").nth(2).wait_for()
        figures = await visit.texts(".figure dd:not(.note)")
        bands = await visit.texts(".bands a")
        ranges = [await band.get_attribute("data-tip") for band in await visit.page.locator(".bands a").all()]
        levels = await visit.texts(".axis span")
        rankings = [await visit.texts(f".columns > :nth-child({column}) a") for column in (1, 2, 3)]
        shown_text = await visit.page.locator(".dimensions").first.get_attribute("aria-label")
        change = await visit.texts(".change")
        await visit.page.get_by_text("good", exact=True).first.click()
        await visit.wait_for_texts(NAMES, ["good"])

    assert [figures[index] for index in (0, 1, 4, 5)] == ["4", "0.675", "1", "0"]
    assert [line.split() for line in bands] == [[band, "1", "25", "%"] for band in SCORES]
    assert ranges == [f"Quality {it}" for it in ("0.9 and above", "0.7 to 0.9", "0.5 to 0.7", "below 0.5")]
    assert levels == ["0", "0.5", "0.7", "0.9", "1"]
    assert rankings[0] == list(SCORES)
    assert rankings[1] == list(SCORES)[::-1]
    assert (rankings[2], change) == (["poor"], ["+0.150"])
    assert shown_text is not None
    assert shown_text.count("0.250") == len(DIMENSIONS)


async def test_an_empty_database_is_no_error(browser: Browser, address: str) -> None:
    async with visiting(browser, address) as visit:
        for place in PLACES:
            await visit.go(place)
            await visit.page.locator(".empty, .below .note").first.wait_for()

        assert await visit.page.locator("#banner").is_hidden()


async def test_patterns_are_searched_filtered_and_sorted(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    events = [
        an_event(
            number, seconds=-number, score=score, version=version, metadata={"name": f"{band} {version}"}
        )
        for number, (band, score, version) in enumerate(
            (band, score, version) for band, score in SCORES.items() for version in ("1.0.0", "2.0.0")
        )
    ]
    await fill(migrated_database_url, events)
    all_names = [str(event.metadata["name"]) for event in events]

    async with visiting(browser, address) as visit:
        await visit.go("patterns")
        await visit.page.get_by_label("Order").select_option("oldest")
        await visit.wait_for_texts(NAMES, all_names[::-1])
        await visit.page.get_by_role("link", name="Measured").click()
        await visit.wait_for_texts(NAMES, all_names)
        await visit.page.get_by_role("link", name="Pattern", exact=True).click()
        await visit.wait_for_texts(NAMES, sorted(all_names))
        await visit.page.get_by_label("Version").select_option("2.0.0")
        await visit.page.get_by_label("Band").select_option("fair")
        await visit.wait_for_texts(NAMES, ["fair 2.0.0"])
        await visit.page.get_by_label("Band").select_option("")
        await visit.page.keyboard.press("/")
        await visit.page.keyboard.type("O")
        await visit.wait_for_texts(NAMES, ["good 2.0.0", "poor 2.0.0"])
        await visit.page.get_by_label("Search").fill(str(events[0].pattern_id)[:13])
        await visit.page.get_by_label("Version").select_option("")
        await visit.wait_for_texts(NAMES, sorted(all_names))
        await visit.page.get_by_label("Search").fill(str(events[6].pattern_id))
        await visit.wait_for_texts(NAMES, all_names[6:7])
        await visit.page.get_by_label("Search").fill("nothing is called so")
        await visit.page.get_by_text("No pattern is like that.").wait_for()


@pytest.mark.parametrize("order", ["best", "id", "name"])
async def test_all_patterns_are_paged_through_and_back(
    browser: Browser, address: str, migrated_database_url: str, order: str
) -> None:
    """Most of them have equal sort keys."""
    events = [an_event(number, metadata={"name": "same"}) for number in range(120)]
    await fill(migrated_database_url, events)
    ids = [str(event.pattern_id) for event in events]

    async with visiting(browser, address) as visit:
        await visit.go(f"patterns?order={order}")
        for page in (ids[:50], ids[50:100], ids[100:]):
            await visit.wait_for_texts("td .id", page)
            if page != ids[100:]:
                await visit.page.get_by_text("Next").click()
        assert await visit.page.locator(".step.off").inner_text() == "Next →"
        for page in (ids[50:100], ids[:50]):
            await visit.page.get_by_text("Previous").click()
            await visit.wait_for_texts("td .id", page)


async def test_a_page_far_down_leads_back_page_by_page_by_a_short_address(
    browser: Browser, address: str, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering_module, "ROWS_DEFAULT", 1)
    ids = [str(uuid.UUID(int=number)) for number in range(30)]
    await fill(migrated_database_url, [an_event(number) for number in range(30)])

    async with visiting(browser, address) as visit:
        await visit.go("patterns?order=id")
        for one in ids[1:]:
            await visit.page.get_by_text("Next →").click()
            await visit.page.locator("td .id", has_text=one).wait_for()
        longest = len(visit.page.url)
        for one in ids[-2::-1]:
            await visit.page.get_by_text("← Previous").click()
            await visit.page.locator("td .id", has_text=one).wait_for()
        assert await visit.page.locator(".step.off").inner_text() == "← Previous"

    assert longest < 200


@pytest.mark.parametrize("trail", ["abc", "5", "[1]"])
async def test_a_link_into_the_middle_leads_back_to_the_first_page(
    browser: Browser, address: str, migrated_database_url: str, trail: str
) -> None:
    await fill(migrated_database_url, [an_event(number) for number in range(60)])

    async with visiting(browser, address) as visit:
        await visit.go(f"patterns?order=id&after={uuid.UUID(int=50)}&trail={trail}")
        await visit.page.get_by_text("10 patterns on this last page").wait_for()
        await visit.page.get_by_text("← First page").click()
        await visit.page.get_by_text("50 patterns on this page, more follow").wait_for()


@pytest.mark.parametrize(
    "place", ["patterns?band=constructor", "patterns?after=zzz", "dead-letters?after=zzz"]
)
async def test_a_wrong_address_shows_a_way_back_and_is_not_requested_again(
    browser: Browser, address: str, migrated_database_url: str, place: str
) -> None:
    await fill(migrated_database_url, [an_event(1), b"no JSON"])

    async with visiting(browser, address) as visit:
        await visit.page.goto(f"{address}#/{place}")
        banner = visit.page.locator("#banner")
        await banner.wait_for()
        shown_text = await banner.inner_text()
        asked = len(visit.requests)
        await visit.page.evaluate("new Promise((resolve) => setTimeout(resolve, 5500))")
        asked_later = len(visit.requests)
        await banner.get_by_role("link").click()
        await banner.wait_for(state="hidden")
        await visit.page.locator("tbody a").wait_for()

    assert place.partition("?")[2] in shown_text
    assert "Trying again" not in shown_text
    assert asked_later == asked


async def test_a_pattern_is_shown_whole_with_its_trend(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    events = [an_event(1, seconds=step, score=step / 10) for step in range(10)]
    gone = an_event(1, seconds=4.5)
    retirement = PatternRetired(
        event_id=gone.event_id,
        pattern_id=gone.pattern_id,
        retired_at=gone.measurement_timestamp,
        reason="moved",
    )
    await fill(migrated_database_url, [*events, an_event(2), retirement.to_json()])

    async with visiting(browser, address) as visit:
        await visit.go("patterns")
        await visit.page.get_by_role("link", name="pattern 1").click()
        dialog = visit.page.get_by_role("dialog")
        await dialog.get_by_role("img", name="10 measurements").wait_for()
        text = await dialog.inner_text()
        await dialog.get_by_text("10 measurements").click()
        rows = await visit.texts("dialog tbody tr td:nth-child(2)")
        await dialog.get_by_role("button", name="Close").click()
        await dialog.wait_for(state="hidden")
        await visit.page.get_by_role("link", name="pattern 2").click()
        await dialog.get_by_text("HISTORY_ENABLED").wait_for()

    assert str(events[-1].event_id) in text
    assert '"name": "pattern 1"' in text
    scores = [f"{step / 10:.3f}" for step in reversed(range(10))]
    assert rows == [*scores[:5], "retired: moved", *scores[5:]]


async def test_retired_patterns_are_listed_and_shown_with_their_last_row(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    gone = an_event(1, seconds=9)
    retirement = PatternRetired(
        event_id=gone.event_id,
        pattern_id=gone.pattern_id,
        retired_at=gone.measurement_timestamp,
        reason="moved <b>",
    )
    await fill(migrated_database_url, [an_event(1), an_event(1, seconds=1), an_event(2)])
    await fill(migrated_database_url, [retirement.to_json()])

    async with visiting(browser, address) as visit:
        await visit.go("patterns")
        await visit.page.get_by_role("link", name="pattern 2").wait_for()
        await visit.page.get_by_label("Band").select_option("retired")
        await visit.page.get_by_role("link", name="pattern 1").click()
        dialog = visit.page.get_by_role("dialog")
        await dialog.get_by_text("moved <b>").first.wait_for()
        await dialog.get_by_text("last quality 0.500").wait_for()
        await dialog.get_by_role("img", name="2 measurements").wait_for()
        rows = await visit.texts("main tbody tr td:first-child")

    assert len(rows) == 1


async def test_without_a_worker_it_says_what_is_written_and_what_it_cannot_know(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill_progress(migrated_database_url)

    async with visiting(browser, address) as visit:
        await visit.go("ingestion")
        await visit.page.get_by_text("3 in all, 15 offsets").wait_for()
        offsets = await visit.texts("tbody tr td:nth-child(2)")
        lags = await visit.texts("tbody tr td:nth-child(4)")

    assert offsets[:3] == ["7", "7", "7"]
    assert lags[:3] == ["not known here"] * 3


async def test_the_title_says_what_is_shown(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(1), b"no JSON"])

    async with visiting(browser, address) as visit:
        for place, title in (
            ("", "Overview"),
            ("patterns", "Patterns"),
            ("ingestion", "Ingestion"),
            (f"patterns?pattern={an_event(1).pattern_id}", "pattern 1"),
            ("patterns?pattern=none", "There is no such pattern"),
            ("patterns", "Patterns"),
            ("dead-letters", "Dead letters"),
        ):
            await visit.go(place)
            await visit.wait_for_title(title)
        await visit.page.locator("tbody a").click()
        await visit.wait_for_title("pattern-scored.v1/0/1")


@pytest.mark.parametrize("place", ["nowhere", "patterns/1?band=good", "toString", "not-found"])
async def test_an_unknown_view_is_reported_with_a_way_back(
    browser: Browser, address: str, place: str
) -> None:
    async with visiting(browser, address) as visit:
        await visit.go("patterns")
        await visit.go(place)
        await visit.wait_for_title("Not found")
        shown = await visit.texts("main .panel")
        chosen = await visit.page.locator("#views [aria-current]").count()
        await visit.page.get_by_text("← Overview").click()
        await visit.page.locator(".columns .empty").first.wait_for()
        await visit.wait_for_title("Overview")

    assert "This page has no such view." in shown[0]
    assert chosen == 0


async def test_it_is_all_done_by_the_keyboard(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(number) for number in range(3)])

    async with visiting(browser, address) as visit:
        await visit.go("patterns?order=id")
        await visit.page.locator(NAMES).first.wait_for()
        press = visit.page.keyboard.press
        await press("Tab")
        skip = await visit.page.evaluate("document.activeElement.innerText")
        await press("Enter")
        reached = await visit.page.evaluate("document.activeElement.id")
        await visit.page.locator(NAMES).first.focus()
        ring = await visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        await press("ArrowDown")
        await press("End")
        await press("ArrowUp")
        await press("Enter")
        dialog = visit.page.get_by_role("dialog")
        await dialog.get_by_role("heading", name="pattern 1").wait_for()
        await press("Escape")
        await dialog.wait_for(state="hidden")
        focused = await visit.page.evaluate("document.activeElement.innerText")

    assert (skip, reached) == ("Skip to the content", "content")
    assert ring == "solid"
    assert focused == "pattern 1"


async def test_nothing_that_comes_from_outside_is_ever_run(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    event = an_event(1, version=HOSTILE[:64], metadata={"name": HOSTILE, HOSTILE: HOSTILE})
    await fill(migrated_database_url, [event, HOSTILE.encode(), b"\x00\xff<b>"])

    async with visiting(browser, address) as visit:
        shown = []
        for place, selector in (
            ("", ".ranking a"),
            ("patterns", NAMES),
            (f"patterns?pattern={event.pattern_id}", "dialog pre"),
            (f"patterns?version={quote(HOSTILE[:64])}", NAMES),
            ("dead-letters", "tbody a"),
        ):
            await visit.go(place)
            await visit.page.locator(selector).first.wait_for()
            shown.append(await visit.page.locator("body").inner_text())
        await visit.page.locator("tbody a").nth(1).click()
        await visit.page.locator("dialog pre").first.wait_for()
        letter = await visit.page.locator("dialog").inner_text()
        await visit.go("dead-letters")
        await visit.page.locator("tbody a").first.click()
        await visit.page.locator("dialog pre").first.wait_for()
        other = await visit.page.locator("dialog").inner_text()
        ran = await visit.page.evaluate("window.ran")
        made = await visit.page.evaluate(
            "document.querySelectorAll('main img, dialog img, body script').length"
        )

    assert all(HOSTILE in text for text in shown[:2])
    assert HOSTILE in letter + other
    assert "00 ff 3c 62 3e" in letter + other
    assert ran is None
    assert made == 0


async def test_invisible_and_direction_changing_characters_are_written_out(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    tricks = "\u202e\x07\u2066\u200b\u2028\ufeff\U000e0041"
    tricks += "\u034f\u115f\u1160\u17b4\u180b\u2800\u3164\ufe00\ufe0f\uffa0\U00016fe4\U0001d159\U000e0fff"
    assert not set(tricks) & set(defused_text(tricks, 1_000)), "a model gets none of them either"
    trick = f"a{tricks}b"
    shown_text = f"a{''.join(f'⟨U+{ord(character):04X}⟩' for character in tricks)}b"
    event = an_event(1, version=trick, metadata={"name": trick * 5, trick: trick})
    letter = json.dumps(["pattern-scored.v1", 0, "1", str(TopicRecord(b"").timestamp)])
    await fill(migrated_database_url, [event, trick.encode()])
    await fill_progress(migrated_database_url, trick)

    async with visiting(browser, address) as visit:
        shown, raw = list[str](), list[str]()
        for place, selector in (
            ("", ".ranking a"),
            ("patterns", NAMES),
            (f"patterns?pattern={event.pattern_id}", "dialog pre"),
            ("ingestion", "main tbody tr"),
            (f"dead-letters?letter={quote(letter)}", "dialog pre"),
        ):
            await visit.go(place)
            await visit.page.locator(selector).first.wait_for()
            shown.append(await visit.page.locator("body").inner_text())
            raw += await visit.page.evaluate(UNSEEN)

    assert [shown_text in text for text in shown] == [True] * len(shown)
    assert raw == []


async def test_a_search_for_what_is_no_event_says_so_and_the_view_stays(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill_progress(migrated_database_url, "pattern-scored.v1")
    async with visiting(browser, address) as visit:
        await visit.go("ingestion?event=xyz")
        await visit.page.get_by_text("An event_id has 32 hexadecimal digits").wait_for()

        assert await visit.page.locator("main tbody tr").count() > 0


async def test_a_pattern_without_a_name_goes_by_its_id(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    blanks = ("", "   ", "\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\n\t")
    await fill(
        migrated_database_url,
        [an_event(number, metadata={"name": name}) for number, name in enumerate(blanks)],
    )
    ids = [str(an_event(number).pattern_id) for number in range(len(blanks))]

    async with visiting(browser, address) as visit:
        await visit.go("patterns")
        await visit.wait_for_texts(NAMES, ids)
        nameless = await visit.page.locator(f"{NAMES}.nameless").count()
        again = await visit.page.locator("main tbody .id").count()
        await visit.page.locator(NAMES).last.click()
        await visit.wait_for_title(ids[-1])

    assert (nameless, again) == (len(blanks), 0)


async def test_dimensions_of_any_name_are_shown(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    dimensions = {"readability": 0.25, "test_coverage": 0.5, "complexity": 0.75}
    many = {f"dimension {number:02d}": 0.5 for number in range(30)}
    events = [
        an_event(1, score=0.9, metadata={"dimensions": dimensions}),
        an_event(2, score=0.8, metadata={"dimensions": many}),
        an_event(3, score=0.7, metadata={"dimensions": "none"}),
    ]
    await fill(migrated_database_url, events)

    async with visiting(browser, address) as visit:
        await visit.go()
        await visit.page.locator(".ranking").first.wait_for()
        links = [await visit.texts(f".columns > :nth-child({column}) a") for column in (1, 2)]
        drawn = visit.page.locator(".columns > :first-child svg.dimensions")
        aria_labels = [await one.get_attribute("aria-label") for one in await drawn.all()]
        await visit.go(f"patterns?pattern={events[0].pattern_id}")
        await visit.page.locator("dialog .bars").wait_for()
        labels = await visit.texts("dialog .bars li > span:first-child")
        await visit.go(f"patterns?pattern={events[1].pattern_id}")
        await visit.page.get_by_text("and 10 more").wait_for()
        await visit.go(f"patterns?pattern={events[2].pattern_id}")
        await visit.page.get_by_text("The scorer sent no dimensions.").wait_for()

    ids = [str(event.pattern_id) for event in events]
    assert links == [ids, ids[::-1]]
    assert aria_labels == [
        "Completeness \N{EN DASH}, Documentation \N{EN DASH}, Compliance \N{EN DASH}, "
        "Metadata richness \N{EN DASH}, Complexity 0.750, "
        "readability 0.250, test_coverage 0.500",
        ", ".join([*(f"dimension {number:02d} 0.500" for number in range(20)), "and 10 more"]),
    ]
    assert labels == [
        *("Completeness", "Documentation", "Compliance", "Metadata richness", "Complexity"),
        *("readability", "test_coverage"),
    ]


async def test_a_name_that_is_written_from_the_right_turns_nothing_around_but_itself(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill_progress(migrated_database_url, topic="\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}")

    async with visiting(browser, address) as visit:
        await visit.go("ingestion")
        gap = visit.page.locator(".panel", has_text="Gaps").locator("td:nth-child(3)").first
        *topic, slash, partition = await gap.evaluate(LEFTS)

    assert max(topic) < slash < partition


async def test_a_dead_letter_is_found_by_its_reason_and_shown_with_its_bytes(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [b"no JSON", b"[", b"{}", None])

    async with visiting(browser, address) as visit:
        await visit.go("dead-letters")
        await visit.wait_for_texts(".reasons .number", ["2", "1", "1"])
        await visit.page.locator(".reasons").get_by_text("missing field").click()
        await visit.wait_for_texts("tbody a", ["pattern-scored.v1/0/2"])
        await visit.page.locator("tbody a").click()
        dialog = visit.page.get_by_role("dialog")
        await dialog.get_by_text(RejectReason.MISSING_FIELD.explanation).wait_for()
        value = await visit.texts("dialog pre >> nth=0")
        commands = await visit.texts("dialog .command code")

    assert value == ["{}"]
    assert "pattern-metrics dead-letters redrive pattern-scored.v1/0/2" in commands


async def test_equal_dead_letters_are_one_row_that_leads_to_each_of_them(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [b"no JSON"] * 60 + [b"{}"])

    async with visiting(browser, address) as visit:
        await visit.go("dead-letters")
        await visit.wait_for_texts("tbody a", ["60 records", "pattern-scored.v1/0/60"])
        counts = await visit.texts("tbody td:nth-child(3)")
        await visit.page.get_by_text("60 records").click()
        await visit.page.get_by_text("Older →").click()
        await visit.wait_for_texts("tbody a", [f"pattern-scored.v1/0/{n}" for n in range(9, -1, -1)])
        await visit.page.get_by_text("← Newest").click()
        await visit.page.get_by_text("← Grouped").click()
        await visit.page.get_by_text("60 records").wait_for()
        await visit.page.get_by_text("Each record, the newest first").click()
        await visit.page.get_by_role("link", name="pattern-scored.v1/0/60").wait_for()

    assert counts == ["60", "1"]


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_commands_and_coordinates_are_copied_or_else_selected(
    browser: Browser, address: str, migrated_database_url: str, is_allowed: bool
) -> None:
    await fill(migrated_database_url, [b"no JSON"])
    permissions = ["clipboard-read", "clipboard-write"] if is_allowed else []
    taken = "navigator.clipboard.readText()" if is_allowed else "getSelection().toString()"

    async with visiting(browser, address, permissions=permissions) as visit:
        await visit.go("dead-letters")
        if not is_allowed:
            await visit.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        await visit.page.locator("tbody a").click()
        copied = []
        for one in ("Copy pattern-scored.v1/0/0", "Copy pattern-metrics dead-letters redrive"):
            await visit.page.get_by_role("button", name=one).click()
            await (
                visit.page.get_by_role("button", name=one)
                .get_by_text("copied" if is_allowed else "selected")
                .wait_for()
            )
            copied.append(await visit.page.evaluate(taken))

    assert copied == ["pattern-scored.v1/0/0", "pattern-metrics dead-letters redrive pattern-scored.v1/0/0"]


async def test_an_outage_is_shown_while_it_lasts_and_what_was_known_is_kept(
    browser: Browser, own_migrated_database_url: str, own_postgres_server: PostgresServer
) -> None:
    await fill(own_migrated_database_url, [an_event(1)])

    async with served(own_migrated_database_url) as address, visiting(browser, address) as visit:
        await visit.go("patterns")
        await visit.wait_for_texts(NAMES, ["pattern 1"])
        before = await visit.page.locator("#banner").is_visible()
        own_postgres_server.stop()
        await visit.page.locator("#banner").wait_for()
        shown_text = await visit.page.locator("#banner").inner_text()
        kept = await names(visit)
        own_postgres_server.start()
        await visit.page.locator("#banner").wait_for(state="hidden")
        await visit.wait_for_texts(NAMES, ["pattern 1"])

    assert not before
    assert "The database does not answer" in shown_text
    assert "What you see is as of" in shown_text
    assert kept == ["pattern 1"]


async def test_an_answer_that_was_kept_is_shown_as_of_when_it_was_computed(
    browser: Browser, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SECONDS_MIN", 600.0)
    behind = [7200]

    async with (
        served(migrated_database_url, clock=Clock(wall=lambda: time.time() - behind[0])) as address,
        visiting(browser, address) as visit,
    ):
        await visit.go("patterns")
        behind[0] = 0
        await visit.page.reload()
        await visit.page.locator("#state", has_text=re.compile("[0-9]")).wait_for()
        shown = await visit.page.locator("#state").inner_text()
        hours = await visit.page.evaluate(
            "[2, 1].map((ago) => new Date(Date.now() - ago * 3.6e6).getHours())"
        )

    assert int(re.findall("[0-9]+", shown)[0]) in hours


async def test_a_server_that_is_gone_is_shown_and_a_hidden_page_asks_for_nothing(
    browser: Browser, migrated_database_url: str
) -> None:
    async with served(migrated_database_url) as address, visiting(browser, address) as visit:
        await visit.go()
        await visit.page.evaluate(
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        state = await visit.page.locator("#state").inner_text()
        asked = len(visit.requests)
        await visit.page.evaluate("new Promise((resolve) => setTimeout(resolve, 5500))")
        asked_hidden = len(visit.requests)
        await visit.page.route(re.compile(r"/v1/"), lambda route: route.abort())
        await visit.page.evaluate(
            "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"
        )
        await visit.page.get_by_text("The server of this page does not answer.").wait_for()

    assert state == "paused"
    assert asked_hidden == asked


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_can_be_read_in_light_and_in_dark(
    browser: Browser, address: str, migrated_database_url: str, scheme: str
) -> None:
    await fill(migrated_database_url, [*[an_event(number) for number in range(60)], b"no JSON"])
    await fill_progress(migrated_database_url)

    async with visiting(browser, address, color_scheme=scheme) as visit:
        contrasts = []
        for place in (*PLACES, f"patterns?pattern={uuid.UUID(int=1)}"):
            await visit.go(place)
            await visit.page.locator("main .panel, main tbody tr").first.wait_for()
            contrasts += await visit.page.evaluate(CONTRASTS)
        background = await visit.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert len(contrasts) > 100
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
    assert (background == "rgb(20, 21, 24)") == (scheme == "dark")


async def test_a_narrow_screen_needs_no_sideways_scrolling(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    long = "module_of_a_very_long_name." * 20 + ":function"
    event = an_event(1, metadata={"name": long, "dimensions": dict.fromkeys(DIMENSIONS, 0.5), long: long})
    await fill(migrated_database_url, [event, b"x" * 5000])
    await fill_progress(migrated_database_url, long[:200], long[:200])

    async with visiting(browser, address, viewport={"width": 320, "height": 640}) as visit:
        widths = []
        for place in (*PLACES, f"patterns?pattern={event.pattern_id}"):
            await visit.go(place)
            await visit.page.locator("main .panel, main tbody tr").first.wait_for()
            widths.append(await visit.page.evaluate("document.documentElement.scrollWidth"))
        widths.append(await visit.page.evaluate("document.querySelector('dialog').scrollWidth"))

    assert max(widths) <= 320


async def test_a_worker_shows_its_lag_and_what_keeps_it_from_working(
    browser: Browser, migrated_database_url: str
) -> None:
    health, metrics = Health(), Metrics()
    watched = Watched(health, metrics, "group", ["scores"])
    metrics.lag_observed({("scores", 0): 1200, ("scores", 1): 0})
    health.fail("kafka", "Broken", "mend it")

    async with served(migrated_database_url, watched) as address, visiting(browser, address) as visit:
        await visit.go("ingestion")
        await visit.wait_for_texts("tbody td:nth-child(4)", ["1,200", "0"])
        obstacles = await visit.texts(".obstacles li")
        metrics.clocks_compared(600)
        await visit.page.get_by_text("this machine's clock is 600.0 s behind PostgreSQL's clock").wait_for()
        metrics.clocks_compared(0.5)
        await visit.page.get_by_text("behind PostgreSQL's clock").wait_for(state="detached")
        metrics.lag_observed({("scores", 0): 600, ("scores", 1): 0})

        async def cleared() -> bool:
            first, second = await visit.texts("tbody td:nth-child(6)")
            return first.startswith("in ") and second == "caught up"

        await eventually(cleared)
        health.recover("kafka")
        health.is_assigned = True
        await visit.page.get_by_text("The worker is ready.").wait_for()

    assert obstacles == [
        "kafka mend it",
        "assignment the group has assigned no partitions yet, or none of them can be read",
    ]


async def test_the_worker_s_own_group_comes_first_and_groups_that_write_nothing_are_folded(
    browser: Browser, migrated_database_url: str
) -> None:
    for group in ("own", "replay", "other"):
        await fill_progress(migrated_database_url, group)
    async with connected(migrated_database_url) as connection:
        await connection.execute(
            "UPDATE ingest_progress SET updated_at = now() - interval '2 hours' "
            "WHERE consumer_group <> 'other'"
        )
    watched = Watched(Health(), Metrics(), "own", ["scores"])

    async with served(migrated_database_url, watched) as address, visiting(browser, address) as visit:
        await visit.go("ingestion")
        await visit.page.get_by_text("1 group that wrote nothing for an hour").click()
        titles = await visit.texts(".panel h2")
        lefts = await visit.page.eval_on_selector_all(
            ".partitions tr:first-child > :nth-child(7)", "(cells) => cells.map((cell) => cell.offsetLeft)"
        )

    assert [title.split(" reads ")[0] for title in titles[:3]] == ["own", "other", "replay"]
    assert len(set(lefts)) == 1
    assert len(lefts) == 6  # a heading and a first row each


async def test_the_patterns_of_a_package_are_drilled_down_to_by_their_names(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    scores = {
        "shop.cart:total": 0.9,
        "shop.cart:apply": 0.7,
        "shop.tax:total": 0.2,
        "bill:run": 0.5,
        "alone": 1.0,
    }
    events = [
        an_event(number, score=score, metadata={"name": name})
        for number, (name, score) in enumerate(scores.items())
    ]
    await fill(migrated_database_url, [*events, an_event(9, score=0.4, metadata={"name": 5})])

    async with visiting(browser, address) as visit:
        await visit.go("modules")
        await visit.wait_for_texts("tbody .main", ["shop.", "without a name", "bill:", "alone"])
        means = await visit.texts("tbody td:nth-child(3)")
        tiles = await visit.texts(".tile span:first-child")
        await visit.page.get_by_role("link", name="Worst").click()
        await visit.wait_for_texts("tbody .main", ["shop.", "without a name", "bill:", "alone"])
        await visit.page.locator(".tile", has_text="shop.").click()
        await visit.wait_for_texts("tbody .main", ["tax:", "cart:"])
        await visit.page.locator("tbody a", has_text="cart:").click()
        await visit.wait_for_texts("tbody .main", ["apply", "total"])
        crumbs = await visit.texts(".crumbs > *")
        await visit.page.locator("tbody a", has_text="apply").click()
        await visit.page.get_by_role("dialog").get_by_role("heading", name="shop.cart:apply").wait_for()
        await visit.page.keyboard.press("Escape")
        await visit.page.locator(".crumbs").get_by_text("shop.", exact=True).click()
        await visit.wait_for_texts("tbody .main", ["tax:", "cart:"])
        await visit.page.get_by_label("Prefix").fill("shop.c")
        await visit.wait_for_texts("tbody .main", ["art:"])
        await visit.page.get_by_label("Prefix").fill("nothing")
        await visit.page.get_by_text("No name begins so.").wait_for()

    assert means == ["0.600", "0.400", "0.500", "1.000"]
    assert sorted(tiles) == ["alone", "bill:", "shop.", "without a name"]
    assert crumbs == ["all", "shop.", "cart:"]


async def test_the_last_hour_and_the_weeks_are_drawn(browser: Browser, migrated_database_url: str) -> None:
    begun, metrics = time.time(), Metrics()
    days = (begun - an_event(1).measurement_timestamp.timestamp()) / 86400
    events = [
        an_event(1, seconds=86400 * (days - ago), score=score)
        for ago, score in ((28, 0.5), (21, 0.4), (14, 0.6), (7, 0.7))
    ]
    await fill(migrated_database_url, events)
    metrics.lag_observed({("scores", 0): 1200})
    watched = Watched(Health(), metrics, "group", ["scores"])
    monotonic = count(0, READING_SECONDS)  # each look is a reading
    clock = Clock(lambda: float(next(monotonic)), time.time)

    async with (
        served(migrated_database_url, watched, clock=clock) as address,
        visiting(browser, address) as visit,
    ):
        await visit.go()
        await visit.page.get_by_role("img", name="Lag: 1,200").wait_for()
        await visit.page.get_by_text("begin again when it restarts").wait_for()
        await visit.page.get_by_role("img", name="Mean quality: 0.700").wait_for()
        sentence = await visit.texts(".trend-of-all .note")
        curves = await visit.texts(".curves h3")

    assert [text.split("\n")[0] for text in curves] == ["Records a second", "Lag", "Dead letters"]
    assert re.fullmatch(r"Rising since the week of [-\d]{10}: \+0\.300, from 0\.400\.", sentence[0])


async def test_a_narrow_screen_shows_every_column_with_its_label(
    browser: Browser, address: str, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(1), b"no JSON"])
    await fill_progress(migrated_database_url)
    shown = """(table) => [...table.querySelector("tbody tr").cells].map((cell) => [
        cell.dataset.label, getComputedStyle(cell, "::before").content, cell.getBoundingClientRect()])
        .map(([label, before, box]) => [label, before, box.width > 0 && box.right <= innerWidth])"""
    labels = "(table) => [...table.tHead.rows[0].cells].map((cell) => cell.textContent)"

    async with visiting(browser, address, viewport={"width": 320, "height": 640}) as visit:
        for place in PLACES[1:]:
            await visit.go(place)
            table = visit.page.locator("main table:has(tbody tr)").first
            await table.wait_for()
            cells = await table.evaluate(shown)

            assert [label for label, *_ in cells] == await table.evaluate(labels)
            assert all(is_visible for *_, is_visible in cells)
            assert all(f'"{label}"' == before for label, before, _ in cells[1:])


async def test_a_worker_of_several_topics_marks_each_of_them_as_its_own(
    browser: Browser, migrated_database_url: str
) -> None:
    metrics = Metrics()
    metrics.lag_observed({("v1", 0): 1, ("v2", 0): 2, ("other", 0): 3})
    watched = Watched(Health(), metrics, "group", ["v1", "v2"])

    async with served(migrated_database_url, watched) as address, visiting(browser, address) as visit:
        await visit.go("ingestion")
        await visit.wait_for_texts("tbody td:nth-child(4)", ["1", "2", "3"])
        tagged = visit.page.locator(".panel h2", has=visit.page.locator(".tag"))
        titles = await tagged.all_inner_texts()

    assert [title.split("\n")[0].partition("this")[0].split()[-1] for title in titles] == ["v1", "v2"]
