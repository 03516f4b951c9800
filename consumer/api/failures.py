"""The failures of answers that ask the database, without the texts of errors, which might name secrets."""

from typing import Final, NamedTuple

import asyncpg

from pattern_metrics.consumer.api.cache import BusyError
from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose


class Failure(NamedTuple):
    """The reason why there is no answer.

    Attributes:
        status: the status of the response.
        kind: busy, slow, database or request.
        hint: what to do, for a person; None if nothing is known.
    """

    status: int
    kind: str
    hint: str | None = None


SLOW: Final = Failure(503, "slow")

ERRORS: Final = (BusyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError)
"""The errors that are failures. Any other is a bug."""


def failure_of(error: Exception) -> Failure:
    """Return the failure that one of ERRORS means."""
    if isinstance(error, BusyError):
        return Failure(503, "busy")
    if isinstance(error, asyncpg.QueryCanceledError):
        return SLOW
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError | TimeoutError):
        diagnosis = diagnose(error)
        if diagnosis.fault is not Fault.RECORD:
            return Failure(503, "database", diagnosis.hint)
    return Failure(400, "request")  # also a text that PostgreSQL cannot hold
