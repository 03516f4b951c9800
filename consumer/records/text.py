"""Text that PostgreSQL can hold."""


def storable_text(text: str) -> str:
    """Return the text with characters that PostgreSQL cannot hold (U+0000, lone surrogates) as escapes."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
