"""The page of reasons for which a record is refused, from their explanations."""

from typing import Final

from pattern_metrics.schemas.dead_letter import RejectReason
from tests.reference.text import page, paragraphs

_INTRODUCTION: Final = """
A record that is refused becomes a dead letter with one of these reasons, and a detail that names the field.
The set is closed. `pattern-metrics dead-letters show` prints a letter with its explanation and with the
commands that repair it.
"""


def reject_reasons_page() -> str:
    """Return each reason with its explanation."""
    blocks = [*paragraphs(_INTRODUCTION)]
    for reason in RejectReason:
        blocks += [f"## `{reason}`", *paragraphs(reason.explanation)]
    return page("Reject reasons", "schemas/dead_letter.py", blocks)
