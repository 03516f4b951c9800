"""`python -m tests.reference` writes the generated pages."""

from pattern_metrics.consumer.settings import LogSettings
from pattern_metrics.consumer.telemetry.logs import configure_logging
from tests.reference.pages import FOLDER, PAGES, TABLES
from tests.reference.tables import generated_tables_page

configure_logging(LogSettings(log_level="WARNING"))

for name, write in {**PAGES, TABLES: generated_tables_page}.items():
    (FOLDER / name).write_text(write(), encoding="utf-8")
