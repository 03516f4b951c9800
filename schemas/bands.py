"""The bands of a quality score. Revision 020 has the same bands in SQL (`pattern_quality_band`)."""

from enum import StrEnum
from typing import Final


class Band(StrEnum):
    """The bands, best first."""

    EXCELLENT = "excellent"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


BANDS: Final = {Band.EXCELLENT: 0.9, Band.GOOD: 0.7, Band.FAIR: 0.5, Band.POOR: 0.0}
"""The bands, best first, and the least score of each."""


def band_of(score: float) -> Band:
    """Return the band of a score from 0 to 1.

    A number below 0 is poor. NaN is excellent, because PostgreSQL sorts NaN above all numbers.
    """
    return next((band for band, least in BANDS.items() if not score < least), Band.POOR)
