"""The failures of answers that ask the database, without the texts of errors, which might name secrets."""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import asyncpg

from pattern_metrics.consumer.api.cache import BusyError
from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose

ValueT = TypeVar("ValueT")


class ParameterError(ValueError):
    """A client gave a parameter that is not valid.

    Args:
        name: the parameter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the parameter {name} is not valid")


def parameter(name: str, text: str, make: Callable[[str], ValueT]) -> ValueT:
    """Return the value of a parameter.

    Raises:
        ParameterError: `make` raised ValueError for the text.
    """
    try:
        return make(text)
    except ValueError:
        raise ParameterError(name) from None


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

ERRORS: Final = (
    BusyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
    ParameterError,
)
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
    # Without a parameter: a text that PostgreSQL cannot hold.
    return Failure(400, "request", str(error) if isinstance(error, ParameterError) else None)
