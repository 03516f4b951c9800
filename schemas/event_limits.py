"""Limits and defaults of an event that a shell hook needs without the model, which is slow to import."""

from typing import Final

VERSION_CHARACTERS_MAX: Final = 64

VERSION_DEFAULT: Final = "1.0.0"

CLOCK_SKEW_SECONDS: Final = 300
"""Default of MAX_CLOCK_SKEW_SECONDS."""
