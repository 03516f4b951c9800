"""Text as PostgreSQL can hold it."""


def storable_text(text: str) -> str:
    """The text with what PostgreSQL cannot hold (U+0000, lone surrogates) written as escapes."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
