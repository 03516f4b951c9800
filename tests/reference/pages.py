"""The generated pages, by the name of their file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.reference.commands import commands_page
from tests.reference.log_events import log_events_page
from tests.reference.man import man_page
from tests.reference.mcp_tools import mcp_tools_page
from tests.reference.metrics import metrics_page
from tests.reference.platforms import platforms_page
from tests.reference.reject_reasons import reject_reasons_page
from tests.reference.settings import settings_page

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"

TABLES: Final = "tables.md"
"""This page needs a database, see `tables_page`."""

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "log-events.md": log_events_page,
    "mcp-tools.md": mcp_tools_page,
    "metrics.md": metrics_page,
    "platforms.md": platforms_page,
    "reject-reasons.md": reject_reasons_page,
    "settings.md": settings_page,
    "../../pattern_metrics/pattern-metrics.1": man_page,  # in each folder that a wheel is built from
}
