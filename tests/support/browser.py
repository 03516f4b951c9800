"""The page in a headless Chromium that watches what the page does."""

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect
from pydantic import SecretStr

from pattern_metrics.consumer.dashboard.page import Page as ServedPage
from pattern_metrics.consumer.dashboard.page import Watched
from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.http.listening import address_of
from pattern_metrics.consumer.http.server import serving_routes
from pattern_metrics.consumer.settings import DatabaseSettings
from pattern_metrics.consumer.timing import CLOCK, Clock
from tests.support.kafka import missing
from tests.support.waiting import eventually

PATIENCE_MS = 30_000
"""How long anything may take that a test waits for; generous, as the machine may be busy."""

NOT_ANSWERED = ("Failed to load resource", "net::ERR")
"""What Chromium writes of a request that failed, which is no fault of the page."""


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
"""The first words of each element that shows a text → the contrast of that."""

UNSEEN = """() => {
  const texts = [document.title];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) texts.push(walker.currentNode.data);
  for (const one of document.querySelectorAll("*")) texts.push(one.dataset.tip ?? "", one.ariaLabel ?? "");
  return texts.filter((text) => /[^\\P{C}\\n\\t]|[\\p{Zl}\\p{Zp}]/u.test(text));
}"""
"""The texts of the page that hold what a screen obeys instead of showing it."""

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
"""How far from the left each character of an element is, in their order."""


def executable() -> str:
    """The system's Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("the page needs Chromium: apt-get install chromium")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, for tests of the session's event loop: each visits with cookies of its own."""
    async with async_playwright() as playwright:
        # As root, as CI is, Chromium has no sandbox of its own.
        browser = await playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def served(
    database_url: str, watched: Watched | None = None, *, history_enabled: bool = False, clock: Clock = CLOCK
) -> AsyncIterator[str]:
    """Serve the page in this process, and say where."""
    settings = DatabaseSettings(database_url=SecretStr(database_url), history_enabled=history_enabled)
    with socket.create_server((HOST, 0)) as listener:
        async with serving_routes(listener, [], ServedPage(settings, watched, clock=clock)):
            yield address_of(listener)


@dataclass
class Visit:
    """A page that is looked at, and what it did besides.

    Attributes:
        address: where it was served.
        page: to click on.
        complaints: what it wrote to the console, and errors that nobody caught.
        requests: the addresses that it asked for.
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
        """The texts of all such elements."""
        return [text.strip() for text in await self.page.locator(selector).all_inner_texts()]

    async def wait_for_texts(self, selector: str, expected: list[str]) -> None:
        """Wait until those are the texts."""

        async def is_so() -> bool:
            found = await self.texts(selector)
            assert found == expected  # which shows what there is
            return True

        await eventually(is_so)

    async def wait_for_title(self, shown: str) -> None:
        """Wait until the title says that this is shown."""
        await expect(self.page).to_have_title(f"{shown} \N{EN DASH} pattern-metrics", timeout=PATIENCE_MS)

    def assert_was_good(self) -> None:
        """It complained of nothing, and asked nobody else."""
        complaints = [text for text in self.complaints if not any(part in text for part in NOT_ANSWERED)]
        assert complaints == []
        assert [url for url in self.requests if not url.startswith(self.address)] == []


@asynccontextmanager
async def visiting(browser: Browser, address: str, **options: Any) -> AsyncIterator[Visit]:
    """Look at the page; it must have been good at the end of the block."""
    context = await browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
    context.set_default_timeout(PATIENCE_MS)
    visit = Visit(address, await context.new_page())
    visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    context.on("request", lambda request: visit.requests.append(request.url))
    yield visit
    visit.assert_was_good()
    await context.close()
