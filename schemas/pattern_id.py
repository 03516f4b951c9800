"""The identity of a pattern that has a name."""

import re
import unicodedata
from typing import Final
from uuid import UUID, uuid5

_PATTERN_NAMESPACE: Final = UUID("3f0f6f0a-7a55-5b0e-8a3c-51f9d7c0a2b4")

_IS_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE).fullmatch


def pattern_id_of(name: str) -> UUID:
    """Return the identity of the pattern of this name, as the scorer gives it.

    Args:
        name: `module:qualified_name` for code (`billing:Invoice.total`); any text for other patterns.
            Equal names have equal identities: the name has to be unique among the patterns of the table.
            Two spellings of one text in Unicode are equal, because some file systems decompose letters.

    Returns:
        A UUID of version 5 (RFC 9562, section 5.5) of the name in Unicode's form NFC.

    Raises:
        ValueError: the name is empty, or is not text that UTF-8 can hold.
    """
    if not name:
        raise ValueError("a pattern's name is not empty")
    return uuid5(_PATTERN_NAMESPACE, unicodedata.normalize("NFC", name))


def pattern_id_from(pattern: UUID | str) -> UUID:
    """Return the identity of a pattern that is given by its id, also as text, or by its name.

    Raises:
        ValueError: see `pattern_id_of`.
    """
    if isinstance(pattern, UUID):
        return pattern
    return UUID(pattern) if _IS_UUID(pattern) else pattern_id_of(pattern)
