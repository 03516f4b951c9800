"""Classifies errors. This is the one place that decides what happens after a failure.

It looks at the error's class and its SQLSTATE (PostgreSQL, appendix A), never at the text of a message. It
does not import PostgreSQL's driver, because agents run without it. As long as no other module has imported
the driver, no error can come from it.
"""

import errno
import ssl
import sys
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka_errors

from pattern_metrics.schemas.settings.database_url import InvalidDatabaseUrlError
from pattern_metrics.schemas.settings.kafka import SettingFileError
from pattern_metrics.schemas.settings.token_provider import TokenProviderError
from pattern_metrics.schemas.settings.variables import with_variables

if TYPE_CHECKING:
    import asyncpg


class Fault(Enum):
    """The class of an error, by who has to act."""

    RECORD = auto()
    """The record is at fault: it becomes a dead letter."""
    TRANSIENT = auto()
    """Nobody has to act: wait and try again, for as long as it takes."""
    CONFIGURATION = auto()
    """An operator has to act: stay up, not ready, log what to do, and continue once it is fixed."""
    UNKNOWN = auto()
    """A bug, ours or a library's: stop and commit nothing more."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The class of an error, and what a person can do about it.

    Attributes:
        fault: the class.
        hint: what to do.
        is_general: whether the hint covers many errors. A hint from the server is then the better one.
    """

    fault: Fault
    hint: str
    is_general: bool = False


_NO_FILES: Final = "too many files and connections are open: raise the limit (ulimit -n)"
_UNREACHABLE: Final = "not reachable; waiting for it"
_REFUSED_FOR_NOW: Final = "the server answers with an error that may be temporary; trying again"

_RECORD_CLASSES: Final = {
    *("22", "23", "44"),  # data, constraint, view
    *("09", "20", "21", "27", "2D", "2F", "38", "39", "P0"),  # errors in a trigger's code
    *("01", "02"),  # a trigger may even raise a warning or "no data" as an error
    "54",  # a limit of the row
}
_POSTGRESQL_CLASSES: Final = {
    *("00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23"),
    *("24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44"),
    *("53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX"),
}
"""All classes of PostgreSQL. An error of any other class was raised by a trigger of the operator."""
_TRANSIENT_CLASSES: Final = {"08", "40", "53", "55", "57", "58"}
_OUTAGE_CLASSES: Final = {"08", "53", "57", "58"}
"""Classes of which a request cannot be the cause."""
_UNREACHABLE_CLASSES: Final = {"08", "57"}
"""Classes that mean that the server has gone away, or is not up yet."""
_TRANSIENT_STATES: Final = {
    "25006",  # read-only: a demoted primary
    "25P02",
    "25P03",
    "25P04",
    "0A000",  # a prepared statement that a migration invalidated; it is prepared again on the next connection
}
_TRANSIENT_HINTS: Final = {
    "25006": "the database is read-only: a demoted primary, or default_transaction_read_only is on; waiting "
    "for a writable one",
    "57014": "a statement took too long, or was cancelled: the database is slow, or another session holds a "
    "lock; trying again with fewer records at once",
    "53100": "its disk is full; waiting for free space",
    "53300": "it has too many connections; waiting for a free one",
    "55P03": "another session holds a lock that is needed; trying again",
}
_POOLED_BY_TRANSACTION: Final = (
    "a pooler gives the session away between transactions: set its pool_mode to session, or name PostgreSQL "
    "itself in DATABASE_URL"
)
_CONFIGURATION_HINTS: Final = {
    "26000": _POOLED_BY_TRANSACTION,  # a prepared statement is another session's
    "42P05": _POOLED_BY_TRANSACTION,
    "42P01": "a table is missing: run `pattern-metrics migrate up`, or check search_path",
    "42883": "a function is missing: run `pattern-metrics migrate up`, or check search_path",
    "42703": "a column is missing: run `pattern-metrics migrate up`",
    "42P10": "the UNIQUE constraint is missing: run `pattern-metrics migrate up`",
    "42501": "the user of DATABASE_URL lacks a right: grant it",
    "42704": "an object or parameter does not exist: check the parameters after the ? of DATABASE_URL",
    "3D000": "the database of DATABASE_URL does not exist: create it",
    "55000": "a published table has no replica identity (run `pattern-metrics migrate up`), or something "
    "else is not in the state that the statement needs",
}
_GENERAL_STATES: Final = {"55000"}
_CONFIGURATION_CLASSES: Final = {
    "28": "the login was refused: check the user, the password and pg_hba.conf",
    "3D": "check the database name in DATABASE_URL",
    "3F": "the schema does not exist: check search_path",
    "42": "the schema is not the one this version needs: see `pattern-metrics migrate status`",
    "XX": "PostgreSQL had an internal error: see its log",
}
_POOLER_REFUSED: Final = (
    "a pooler refused the login: check the user, the password, the database and `options` in DATABASE_URL"
)
_SESSION_REFUSED: Final = (
    "PostgreSQL refused the session: check the parameters after the ? of DATABASE_URL, and login triggers"
)
_UNUSABLE_OPTIONS: Final = (
    "name USER in DATABASE_URL; check the variables PG* and the files of PGPASSFILE and PGSERVICEFILE"
)
_BEYOND_ROWS: Final = (
    "a trigger or a constraint refuses a statement that stores no event (progress, dead letters, a login, a "
    "commit): fix it; the log has PostgreSQL's message"
)

_LOGIN_REFUSED: Final = "the login was refused: check the user and the password or token (KAFKA_SASL_*)"
_KAFKA_CONFIGURATION_HINTS: Final[dict[type[Exception], str]] = {
    kafka_errors.UnknownTopicOrPartitionError: "the topic of KAFKA_TOPIC does not exist (or may not be "
    "described): run `pattern-metrics topic create`",
    kafka_errors.InvalidTopicError: "KAFKA_TOPIC is not a valid topic name",
    kafka_errors.TopicAuthorizationFailedError: "an ACL denies the topic of KAFKA_TOPIC: grant this user "
    "DESCRIBE and READ (to publish: WRITE) on it",
    kafka_errors.GroupAuthorizationFailedError: "an ACL denies the group of KAFKA_GROUP_ID: grant this user "
    "READ on it",
    kafka_errors.InconsistentGroupProtocolError: "a client with another partition assignor or "
    "protocol is in the group of KAFKA_GROUP_ID: end it, or name a group for this worker alone",
    kafka_errors.UnknownError: "the broker had an internal error: see its log",
    kafka_errors.IncompatibleBrokerVersion: "the broker lacks a request; to publish to a broker without "
    "InitProducerId, such as the embedded one, set KAFKA_ENABLE_IDEMPOTENCE=false",
    kafka_errors.ClusterAuthorizationFailedError: "the broker denies this user: check its ACLs",
    kafka_errors.AuthenticationFailedError: _LOGIN_REFUSED,
    kafka_errors.SaslAuthenticationFailed: _LOGIN_REFUSED,
    TokenProviderError: "KAFKA_SASL_OAUTH_TOKEN_PROVIDER gave no token: fix it, or the server that it asks",
    kafka_errors.AuthenticationMethodNotSupported: "check KAFKA_SASL_MECHANISM",
    kafka_errors.IllegalSaslStateError: "the listener takes no SASL login: check KAFKA_SECURITY_PROTOCOL",
    kafka_errors.UnsupportedSaslMechanismError: "check KAFKA_SASL_MECHANISM",
}

_HOST_NAME: Final = (
    "the server's certificate is for another host name: check KAFKA_BOOTSTRAP_SERVERS and "
    "advertised.listeners, or the host in DATABASE_URL"
)
_AUTHORITY: Final = (
    "the server's certificate is signed by an unknown CA: check KAFKA_SSL_CAFILE, or sslrootcert in "
    "DATABASE_URL"
)
_CERTIFICATE_HINTS: Final = {  # X509_V_ERR_…, by number
    9: "the server's certificate is not valid yet: check its dates, and the clocks",
    10: "the server's certificate has expired: renew it",
    18: _AUTHORITY,
    19: _AUTHORITY,
    20: _AUTHORITY,
    21: _AUTHORITY,
    62: _HOST_NAME,
    64: _HOST_NAME,
}
_NO_TLS: Final = "the server does not speak TLS there: check KAFKA_SECURITY_PROTOCOL, or the port"
_OWN_CERTIFICATE_REFUSED: Final = (
    "the server refused our certificate (expired, or of a CA unknown to it): check KAFKA_SSL_CERTFILE, or "
    "sslcert in DATABASE_URL"
)
_OWN_CERTIFICATE_MISSING: Final = (
    "the server wants a client's certificate: set KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE, or sslcert "
    "and sslkey in DATABASE_URL"
)
_OWN_FILES: Final = (
    "a certificate or key file has the wrong content, or the two do not match: check sslrootcert, sslcert "
    "and sslkey in DATABASE_URL"
)
_TLS_HINTS: Final = {  # OpenSSL's own symbols
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OWN_CERTIFICATE_MISSING,  # Java's alert if we send no certificate
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _OWN_CERTIFICATE_MISSING,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _OWN_CERTIFICATE_REFUSED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _OWN_CERTIFICATE_REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OWN_CERTIFICATE_REFUSED,  # Java's alert for all other certificates
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OWN_CERTIFICATE_REFUSED,
    "TLSV1_ALERT_UNKNOWN_CA": _OWN_CERTIFICATE_REFUSED,
    "NO_CERTIFICATE_OR_CRL_FOUND": _OWN_FILES,
    "KEY_VALUES_MISMATCH": _OWN_FILES,
}


def diagnose(error: BaseException) -> Diagnosis:
    """Classify an error of PostgreSQL, Kafka or the network.

    Returns:
        The diagnosis, whose hint names the variables that the user has set.
    """
    diagnosis = _diagnose(error)
    return replace(diagnosis, hint=with_variables(diagnosis.hint))


def _diagnose(error: BaseException) -> Diagnosis:
    if isinstance(error, _CONFIGURATION_ERRORS):
        return Diagnosis(Fault.CONFIGURATION, str(error))
    if is_of_postgresql(error):
        return _diagnose_postgresql(error)
    if isinstance(error, kafka_errors.KafkaError):
        return _diagnose_kafka(error)
    if isinstance(error, ssl.SSLError):
        return _diagnose_tls(error)
    if isinstance(error, (OSError, TimeoutError)):
        has_files = getattr(error, "errno", None) not in {errno.EMFILE, errno.ENFILE}
        return Diagnosis(Fault.TRANSIENT, _UNREACHABLE if has_files else _NO_FILES)
    return Diagnosis(Fault.UNKNOWN, "unexpected error")


def is_of_postgresql(error: BaseException) -> bool:
    """Return whether the error comes from PostgreSQL, from its driver, or from what DATABASE_URL says."""
    if isinstance(error, DatabaseFileError | InvalidDatabaseUrlError):
        return True
    if "asyncpg" not in sys.modules:
        return False
    import asyncpg

    of_server = (asyncpg.PostgresError, asyncpg.PostgresWarning)
    return isinstance(error, (*of_server, asyncpg.InterfaceError, asyncpg.InternalClientError))


def is_outage(error: "asyncpg.PostgresError") -> bool:
    """Return whether PostgreSQL refused for a reason that lies in no request."""
    return (error.sqlstate or "")[:2] in _OUTAGE_CLASSES


def diagnose_beyond_rows(error: BaseException) -> Diagnosis:
    """Classify an error that came from outside the statements for rows, so that no record can be at fault."""
    diagnosis = diagnose(error)
    if diagnosis.fault is Fault.RECORD:
        return Diagnosis(Fault.CONFIGURATION, _BEYOND_ROWS, is_general=True)
    return diagnosis


def said_by(error: BaseException, *, has_reader: bool = False) -> str:
    """Return the message of the server, the driver or the system, with the hosts, in one line.

    Args:
        error: the error; its notes are included.
        has_reader: whether the text goes to the person who ran the command, and not to a log. It then ends
            with PostgreSQL's detail, which may repeat a row's values. Otherwise it ends with the context, the
            constraint and the table of the error.
    """
    texts: list[str | None] = [str(error)]
    if said := _server_error(error):
        where = (said.context, said.constraint_name, said.table_name)
        texts = [str(said.args[0]), *([said.detail] if has_reader else where)]
    if isinstance(error.__cause__, ssl.SSLError):
        texts.append(str(error.__cause__))
    texts += getattr(error, "__notes__", [])
    messages = [" ".join(text.split()) for text in texts if text]
    return "; ".join(messages) if texts[0] else "; ".join([type(error).__name__, *messages])


def server_of(error: BaseException) -> str | None:
    """Return the server that an error came from, such as "Kafka at broker:9092"; None if no note names it."""
    notes: list[str] = getattr(error, "__notes__", [])
    return next((note for note in notes if note.startswith(("Kafka at ", "PostgreSQL at "))), None)


def detail_and_hint(error: BaseException) -> tuple[str, str]:
    """Return what is wrong, and the server's own hint or an empty text; each in one line."""
    said = _server_error(error)
    hint = " ".join((said.hint or "").split()) if said else ""
    return said_by(error, has_reader=True), hint.removesuffix(".")


def _server_error(error: BaseException) -> "asyncpg.PostgresError | None":
    if "asyncpg" not in sys.modules:
        return None
    import asyncpg

    return error if isinstance(error, asyncpg.PostgresError) else None


def _diagnose_postgresql(error: BaseException) -> Diagnosis:
    import asyncpg

    from pattern_metrics.consumer.faults.driver import (
        RefusedLoginError,
        RefusedSessionError,
        UnusableOptionsError,
    )

    ours = {
        RefusedLoginError: _POOLER_REFUSED,
        RefusedSessionError: _SESSION_REFUSED,
        UnusableOptionsError: _UNUSABLE_OPTIONS,
    }
    if hint := ours.get(type(error)):
        return Diagnosis(Fault.CONFIGURATION, hint)
    if isinstance(error, (asyncpg.PostgresError, asyncpg.PostgresWarning)):
        return _diagnose_sqlstate(error.sqlstate or "XX")
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return Diagnosis(Fault.CONFIGURATION, "check DATABASE_URL, its service and the variables PG*")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Diagnosis(Fault.RECORD, "the driver could not encode the row")
    return Diagnosis(Fault.TRANSIENT, _UNREACHABLE)


def _diagnose_sqlstate(sqlstate: str) -> Diagnosis:
    family = sqlstate[:2]
    if family in _RECORD_CLASSES:
        return Diagnosis(Fault.RECORD, "the row was refused")
    if sqlstate in _CONFIGURATION_HINTS:
        return Diagnosis(
            Fault.CONFIGURATION, _CONFIGURATION_HINTS[sqlstate], is_general=sqlstate in _GENERAL_STATES
        )
    if family in _TRANSIENT_CLASSES or sqlstate in _TRANSIENT_STATES:
        return _diagnose_transient(sqlstate)
    if family in _CONFIGURATION_CLASSES:
        return Diagnosis(Fault.CONFIGURATION, _CONFIGURATION_CLASSES[family], is_general=True)
    if family not in _POSTGRESQL_CLASSES:
        return Diagnosis(Fault.RECORD, "the row was refused with an SQLSTATE of the operator's own")
    return Diagnosis(
        Fault.CONFIGURATION, f"PostgreSQL returned the unexpected SQLSTATE {sqlstate}", is_general=True
    )


def _diagnose_transient(sqlstate: str) -> Diagnosis:
    if hint := _TRANSIENT_HINTS.get(sqlstate):
        return Diagnosis(Fault.TRANSIENT, hint)
    if sqlstate[:2] in _UNREACHABLE_CLASSES:
        return Diagnosis(Fault.TRANSIENT, _UNREACHABLE)
    return Diagnosis(Fault.TRANSIENT, _REFUSED_FOR_NOW, is_general=True)


def _diagnose_tls(error: ssl.SSLError) -> Diagnosis:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = getattr(error, "verify_code", 0)
        untrusted = "the server's certificate is not trusted"
        return Diagnosis(Fault.CONFIGURATION, _CERTIFICATE_HINTS.get(code, untrusted))
    if hint := _TLS_HINTS.get(getattr(error, "reason", "")):
        return Diagnosis(Fault.CONFIGURATION, hint)
    return Diagnosis(Fault.TRANSIENT, _UNREACHABLE)


def _diagnose_kafka(error: kafka_errors.KafkaError) -> Diagnosis:
    if isinstance(error.__cause__, ssl.SSLError):  # a server refuses our certificate only after the handshake
        return _diagnose_tls(error.__cause__)
    for kind, hint in _KAFKA_CONFIGURATION_HINTS.items():
        if isinstance(error, kind):
            return Diagnosis(Fault.CONFIGURATION, hint)
    if error.retriable or isinstance(
        error, (kafka_errors.KafkaTimeoutError, kafka_errors.KafkaUnavailableError)
    ):
        return Diagnosis(Fault.TRANSIENT, _UNREACHABLE)
    return Diagnosis(Fault.UNKNOWN, "unexpected error of the Kafka client")


class DuplicateInstanceError(Exception):
    """Another worker of the group has the name of KAFKA_GROUP_INSTANCE_ID."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"KAFKA_GROUP_INSTANCE_ID: another worker of the group has the name {name}; give each worker a "
            "name of its own. This worker waits until the name is free"
        )


class UnfitDatabaseError(Exception):
    """The database cannot hold the contents of events. The message says what to do."""


class DatabaseFileError(SettingFileError):
    """A file that DATABASE_URL or a PG* variable names cannot be used."""


_CONFIGURATION_ERRORS: Final = (
    SettingFileError,
    UnfitDatabaseError,
    InvalidDatabaseUrlError,
    DuplicateInstanceError,
)
"""Their messages say what to do."""
