"""The page in a headless Chromium, which records what the page does."""

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect
from pydantic import SecretStr

from pattern_metrics.consumer.api.ingestion import Watched
from pattern_metrics.consumer.dashboard.page import Page as ServedPage
from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.http.listening import address_of
from pattern_metrics.consumer.http.server import serving_routes
from pattern_metrics.consumer.settings import DatabaseSettings
from pattern_metrics.schemas.settings.timing import CLOCK, Clock
from tests.support.kafka import missing
from tests.support.waiting import eventually

PATIENCE_MS = 30_000
"""Longest wait for anything; generous, because the machine may be busy."""

NOT_ANSWERED = ("Failed to load resource", "net::ERR")
"""Chromium's messages about a failed request, which is not a fault of the page."""


CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!colour.includes(", 0)") && colour.startsWith("rgb(")) return channels(colour);
    }
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility() && !one.closest(".off, svg"))
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((one) => {
      const [a, b] = [luminance(channels(getComputedStyle(one).color)), luminance(behind(one))];
      return [one.textContent.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""
"""Returns the contrast of each element that shows a text, by its first words."""

UNSEEN = """() => {
  const texts = [document.title];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) texts.push(walker.currentNode.data);
  for (const one of document.querySelectorAll("*")) texts.push(one.dataset.tip ?? "", one.ariaLabel ?? "");
  return texts.filter((text) => /[^\\P{C}\\n\\t]|[\\p{Zl}\\p{Zp}]/u.test(text));
}"""
"""Returns the texts of the page with characters that a screen would obey instead of show."""

LEFTS = """(element) => {
  const lefts = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (let at = 0; at < walker.currentNode.length; at++) {
      const range = document.createRange();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + 1);
      lefts.push(range.getBoundingClientRect().left);
    }
  }
  return lefts;
}"""
"""Returns the distance of each character of an element from the left, in order."""


def executable() -> str:
    """Return the path of the system's Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("the page needs Chromium: apt-get install chromium")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, for tests of the session's event loop. Each visit has its own cookies."""
    async with async_playwright() as playwright:
        # CI runs as root, where Chromium cannot use its sandbox.
        browser = await playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def served(
    database_url: str, watched: Watched | None = None, *, history_enabled: bool = False, clock: Clock = CLOCK
) -> AsyncIterator[str]:
    """Serve the page in this process, and yield its address."""
    settings = DatabaseSettings(database_url=SecretStr(database_url), history_enabled=history_enabled)
    with socket.create_server((HOST, 0)) as listener:
        async with serving_routes(listener, [], ServedPage(settings, watched, clock=clock)):
            yield address_of(listener)


@dataclass
class Visit:
    """A page that is open, and what it did.

    Attributes:
        address: where it was served.
        page: the page to click on.
        complaints: messages on its console, and uncaught errors.
        requests: the addresses that it requested.
    """

    address: str
    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def go(self, place: str = "") -> None:
        """Open a place, such as `patterns?band=poor`, and wait until it shows something."""
        await self.page.goto(f"{self.address}#/{place}")
        await self.page.locator("#state:not(:empty)").wait_for()

    async def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that the selector matches."""
        return [text.strip() for text in await self.page.locator(selector).all_inner_texts()]

    async def wait_for_texts(self, selector: str, expected: list[str]) -> None:
        """Wait until the texts are as expected."""

        async def is_so() -> bool:
            found = await self.texts(selector)
            assert found == expected  # pytest shows the difference
            return True

        await eventually(is_so)

    async def wait_for_title(self, shown: str) -> None:
        """Wait until the title names this place."""
        await expect(self.page).to_have_title(f"{shown} \N{EN DASH} pattern-metrics", timeout=PATIENCE_MS)

    def assert_was_good(self) -> None:
        """Check that the page logged no error, and requested nothing from elsewhere."""
        complaints = [text for text in self.complaints if not any(part in text for part in NOT_ANSWERED)]
        assert complaints == []
        assert [url for url in self.requests if not url.startswith(self.address)] == []


@asynccontextmanager
async def visiting(browser: Browser, address: str, **options: Any) -> AsyncIterator[Visit]:
    """Open the page. At the end of the block, check that it was good."""
    context = await browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
    context.set_default_timeout(PATIENCE_MS)
    visit = Visit(address, await context.new_page())
    visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    context.on("request", lambda request: visit.requests.append(request.url))
    yield visit
    visit.assert_was_good()
    await context.close()
