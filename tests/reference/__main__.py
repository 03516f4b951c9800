"""`python -m tests.reference` writes the generated pages."""

from tests.reference.pages import FOLDER, PAGES, TABLES
from tests.reference.tables import generated_tables_page

for name, write in {**PAGES, TABLES: generated_tables_page}.items():
    (FOLDER / name).write_text(write(), encoding="utf-8")
