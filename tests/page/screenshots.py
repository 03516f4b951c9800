"""Takes pictures of the page with the demo's data for the README: `make screenshots`."""

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final, Literal, TypeAlias

from playwright.async_api import Browser, ViewportSize, async_playwright

from tests.support.browser import executable

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SIZE: Final[ViewportSize] = {"width": 1200, "height": 900}
Scheme: TypeAlias = Literal["light", "dark"]
READINGS_MS: Final = 120_000
"""The curves of the hour begin with the second reading."""

SCHEMES: Final[tuple[Scheme, Scheme]] = ("light", "dark")


async def main() -> None:
    """Run the demo, take the pictures in light and in dark, and end it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("pattern-metrics")
    demo = await asyncio.create_subprocess_exec(program, "demo", "--keep", stdout=PIPE)
    try:
        address = await _address(demo)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
            for scheme in SCHEMES:
                await _take(browser, address, scheme)
            await browser.close()
    finally:
        demo.send_signal(signal.SIGINT)
        await demo.wait()


async def _address(demo: Process) -> str:
    assert demo.stdout is not None
    async for line in demo.stdout:
        if found := re.search(r"http://\S+", line.decode()):
            return found[0]
    raise SystemExit("the demo has ended without a page")


async def _take(browser: Browser, address: str, scheme: Scheme) -> None:
    context = await browser.new_context(viewport=SIZE, color_scheme=scheme, device_scale_factor=1.5)
    page = await context.new_page()
    await page.goto(address)
    await page.get_by_text("of this worker, last minute").wait_for()
    await page.locator(".ranking").first.wait_for()
    await page.locator(".curves").wait_for(timeout=READINGS_MS)
    await page.screenshot(path=IMAGES / f"overview-{scheme}.png")
    await page.locator(".columns > :nth-child(3) a").first.click()
    await page.locator("dialog pre").wait_for()
    await page.locator("dialog").evaluate(
        "(one) => Promise.all(one.getAnimations().map((each) => each.finished))"
    )
    await page.mouse.move(0, 0)
    await page.evaluate("document.activeElement.blur()")
    await page.screenshot(path=IMAGES / f"pattern-{scheme}.png")
    await context.close()


if __name__ == "__main__":
    asyncio.run(main())
