"""`python -m tests.reference` writes the generated pages."""

from tests.reference.pages import FOLDER, PAGES

for name, write in PAGES.items():
    (FOLDER / name).write_text(write(), encoding="utf-8")
