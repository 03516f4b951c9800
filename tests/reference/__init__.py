"""The generated pages of `docs/reference/`: `python -m tests.reference` writes them, a test compares them."""
