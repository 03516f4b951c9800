"""Whose fault is an error? The one place that decides what happens after a failure.

By class and SQLSTATE (PostgreSQL, appendix A), never by the text of a message.
"""

import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import asyncpg
from aiokafka import errors as kafka_errors


class Fault(Enum):
    """What an error says about who has to act."""

    RECORD = auto()
    """The record's: it becomes a dead letter."""
    WEATHER = auto()
    """Nobody's: wait and try again, for as long as it takes."""
    SETUP = auto()
    """The operator's: stay up, not ready, say what to do; goes on once it is mended."""
    UNKNOWN = auto()
    """A bug, ours or a library's: stop and commit nothing more."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A fault, and what a person may do about it.

    Attributes:
        fault: whose it is.
        hint: what to do.
        is_general: whether the hint is that of many errors, so that one the server gave would be better.
    """

    fault: Fault
    hint: str
    is_general: bool = False


_UNREACHABLE: Final = "not reachable; waiting for it"

_RECORD_CLASSES: Final = {"22", "23", "38", "39", "54", "P0"}  # data, constraint, trigger, a limit of the row
_OWN_CLASSES: Final = set("56789IJKLMNOPQRSTUVWXYZ")
"""What SQLSTATEs begin with that the standard leaves to others: an operator's trigger may raise them."""
_POSTGRESQL_CLASSES: Final = {"53", "54", "55", "57", "58", "P0", "XX"}
_WEATHER_CLASSES: Final = {"08", "40", "53", "55", "57", "58"}
_WEATHER_STATES: Final = {
    "25006",  # read-only: a demoted primary
    "25P02",
    "25P03",
    "25P04",
    "0A000",  # a prepared statement that a migration has overtaken; prepared anew on the next connection
}
_WEATHER_HINTS: Final = {
    "25006": "the database is read-only, as a demoted primary is; waiting for one that is not",
    "53100": "its disk is full; waiting for room",
    "53300": "it has too many connections; waiting for one",
}
_SETUP_HINTS: Final = {
    "42P01": "a table is missing: run `pattern-metrics migrate up`",
    "42703": "a column is missing: run `pattern-metrics migrate up`",
    "42P10": "the UNIQUE constraint is missing: run `pattern-metrics migrate up`",
    "42501": "the user of DATABASE_URL lacks a right: grant it",
    "42704": "something that is named does not exist: check the parameters after the ? of DATABASE_URL",
    "3D000": "the database of DATABASE_URL does not exist: create it",
}
_SETUP_CLASSES: Final = {
    "28": "the login was refused: check the user, the password and pg_hba.conf",
    "3D": "check the database name in DATABASE_URL",
    "3F": "the schema does not exist: check search_path",
    "42": "the schema is not the one this version needs: see `pattern-metrics migrate status`",
}

_KAFKA_SETUP_HINTS: Final[dict[type[Exception], str]] = {
    kafka_errors.UnknownTopicOrPartitionError: "the topic of KAFKA_TOPIC does not exist (or may not be "
    "described): run `pattern-metrics topic create`",
    kafka_errors.InvalidTopicError: "KAFKA_TOPIC is no valid topic name",
    kafka_errors.TopicAuthorizationFailedError: "grant READ and DESCRIBE on the topic",
    kafka_errors.GroupAuthorizationFailedError: "grant READ on the consumer group",
    kafka_errors.ClusterAuthorizationFailedError: "the broker denies this user: check its ACLs",
    kafka_errors.AuthenticationFailedError: "the login was refused: check KAFKA_SASL_*",
    kafka_errors.SaslAuthenticationFailed: "the login was refused: check KAFKA_SASL_*",
    kafka_errors.AuthenticationMethodNotSupported: "check KAFKA_SASL_MECHANISM",
    kafka_errors.IllegalSaslStateError: "the listener takes no SASL login: check KAFKA_SECURITY_PROTOCOL",
    kafka_errors.UnsupportedSaslMechanismError: "check KAFKA_SASL_MECHANISM",
}


def diagnose(error: BaseException) -> Diagnosis:
    """Decide whose fault an error of PostgreSQL, Kafka or the network is."""
    if isinstance(error, asyncpg.PostgresError):
        return _diagnose_sqlstate(error.sqlstate or "")
    if isinstance(error, kafka_errors.KafkaError):
        return _diagnose_kafka(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Diagnosis(
            Fault.SETUP, "the server's certificate is not trusted: check the CA and the host name"
        )
    if isinstance(error, (OSError, TimeoutError)):
        return Diagnosis(Fault.WEATHER, _UNREACHABLE)
    return _diagnose_client(error)


def _diagnose_sqlstate(sqlstate: str) -> Diagnosis:
    family = sqlstate[:2]
    if family in _RECORD_CLASSES:
        return Diagnosis(Fault.RECORD, "the row was refused")
    if family in _WEATHER_CLASSES or sqlstate in _WEATHER_STATES:
        return Diagnosis(Fault.WEATHER, _WEATHER_HINTS.get(sqlstate, _UNREACHABLE))
    if sqlstate in _SETUP_HINTS:
        return Diagnosis(Fault.SETUP, _SETUP_HINTS[sqlstate])
    if family in _SETUP_CLASSES:
        return Diagnosis(Fault.SETUP, _SETUP_CLASSES[family], is_general=True)
    if family[:1] in _OWN_CLASSES and family not in _POSTGRESQL_CLASSES:
        return Diagnosis(Fault.RECORD, "the row was refused with an SQLSTATE of the operator's own")
    return Diagnosis(Fault.UNKNOWN, f"unexpected SQLSTATE {sqlstate}")


def _diagnose_kafka(error: kafka_errors.KafkaError) -> Diagnosis:
    for kind, hint in _KAFKA_SETUP_HINTS.items():
        if isinstance(error, kind):
            return Diagnosis(Fault.SETUP, hint)
    if error.retriable or isinstance(
        error, (kafka_errors.KafkaTimeoutError, kafka_errors.KafkaUnavailableError)
    ):
        return Diagnosis(Fault.WEATHER, _UNREACHABLE)
    return Diagnosis(Fault.UNKNOWN, "unexpected error of the Kafka client")


def _diagnose_client(error: BaseException) -> Diagnosis:
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return Diagnosis(Fault.SETUP, "check DATABASE_URL")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Diagnosis(Fault.RECORD, "the driver could not encode the row")
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return Diagnosis(Fault.WEATHER, _UNREACHABLE)
    return Diagnosis(Fault.UNKNOWN, "unexpected error")
