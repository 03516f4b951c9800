"""All generated pages, by the name of their file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.reference.commands import commands_page
from tests.reference.metrics import metrics_page
from tests.reference.settings import settings_page

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}
