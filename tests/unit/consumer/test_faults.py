"""The classes of errors, by exception class and SQLSTATE."""

import ssl
from collections.abc import Iterator

import asyncpg
import pytest
from aiokafka import errors as kafka_errors
from asyncpg.exceptions._base import DataError as EncodingError

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose, diagnose_beyond_rows, server_of
from pattern_metrics.schemas.settings.kafka import SettingFileError

SECRET = "hunter2"

FAULTS_OF_CLASSES = {
    "22": Fault.RECORD,
    "23": Fault.RECORD,
    "08": Fault.TRANSIENT,
    "40": Fault.TRANSIENT,
    "53": Fault.TRANSIENT,
    "57": Fault.TRANSIENT,
    "28": Fault.CONFIGURATION,
    "42": Fault.CONFIGURATION,
}

FAULTS_OF_STATES = {
    "55P03": Fault.TRANSIENT,  # a lock that was not granted in time
    "25006": Fault.TRANSIENT,  # a demoted primary
    "3D000": Fault.CONFIGURATION,
    "XX000": Fault.CONFIGURATION,  # for example from a damaged index or an extension
}


def _error_classes() -> Iterator[type[asyncpg.PostgresError]]:
    for one in vars(asyncpg.exceptions).values():
        if isinstance(one, type) and issubclass(one, asyncpg.PostgresError) and one.sqlstate:
            yield one


@pytest.mark.parametrize("family", FAULTS_OF_CLASSES)
def test_each_error_of_a_class_of_sqlstates_is_the_fault_of_the_same(family: str) -> None:
    errors = [one(SECRET) for one in _error_classes() if (one.sqlstate or "").startswith(family)]

    assert errors
    assert {diagnose(error).fault for error in errors} == {FAULTS_OF_CLASSES[family]}


@pytest.mark.parametrize("sqlstate", FAULTS_OF_STATES)
def test_an_sqlstate_of_the_table_is_diagnosed(sqlstate: str) -> None:
    assert diagnose(error_of(sqlstate)).fault is FAULTS_OF_STATES[sqlstate]


@pytest.mark.parametrize("sqlstate", ["40001", "0A000", "25P02", "55000", "58030"])
def test_a_server_that_answers_is_not_called_unreachable(sqlstate: str) -> None:
    diagnosis = diagnose(error_of(sqlstate))

    assert "not reachable" not in diagnosis.hint
    assert diagnosis.is_general  # so that the server's own message is shown


def test_a_lock_that_was_not_granted_in_time_is_named() -> None:
    assert "another session holds a lock" in diagnose(error_of("55P03")).hint


def error_of(sqlstate: str) -> asyncpg.PostgresError:
    """Return the error that the driver makes of the server's report."""
    error = asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": SECRET, "D": SECRET})
    assert isinstance(error, asyncpg.PostgresError)
    return error


def test_an_sqlstate_unknown_to_the_driver_counts_by_its_first_two_characters() -> None:
    for family, fault in FAULTS_OF_CLASSES.items():
        assert diagnose(error_of(f"{family}ZZZ")).fault is fault


@pytest.mark.parametrize("sqlstate", ["22003", "23514", "P0001", "ZZ001"])
def test_beyond_the_rows_what_would_be_a_records_fault_is_the_operators_to_mend(sqlstate: str) -> None:
    assert diagnose_beyond_rows(error_of(sqlstate)).fault is Fault.CONFIGURATION


@pytest.mark.parametrize("sqlstate", ["25P01", "57014", "42P01"])
def test_beyond_the_rows_every_other_fault_is_what_it_was(sqlstate: str) -> None:
    assert diagnose_beyond_rows(error_of(sqlstate)) == diagnose(error_of(sqlstate))


@pytest.mark.parametrize("sqlstate", ["25P01", "0A001", "F0000", "HV000", ""])
def test_any_other_sqlstate_ends_no_worker(sqlstate: str) -> None:
    assert diagnose(error_of(sqlstate)).fault in {Fault.CONFIGURATION, Fault.TRANSIENT}


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ConnectionRefusedError(SECRET), Fault.TRANSIENT),
        (ConnectionResetError(SECRET), Fault.TRANSIENT),
        (OSError(SECRET), Fault.TRANSIENT),
        (TimeoutError(SECRET), Fault.TRANSIENT),
        (ssl.SSLError(SECRET), Fault.TRANSIENT),
        (ssl.SSLCertVerificationError(SECRET), Fault.CONFIGURATION),
        (asyncpg.InterfaceError(SECRET), Fault.TRANSIENT),
        (asyncpg.InternalClientError(SECRET), Fault.TRANSIENT),
        (asyncpg.exceptions.ProtocolError(SECRET), Fault.TRANSIENT),
        (asyncpg.exceptions.TargetServerAttributeNotMatched(SECRET), Fault.TRANSIENT),
        (asyncpg.exceptions.ClientConfigurationError(SECRET), Fault.CONFIGURATION),
        (EncodingError(SECRET), Fault.RECORD),
        (kafka_errors.KafkaConnectionError(SECRET), Fault.TRANSIENT),
        (kafka_errors.NodeNotReadyError(SECRET), Fault.TRANSIENT),
        (kafka_errors.RequestTimedOutError(SECRET), Fault.TRANSIENT),
        (kafka_errors.KafkaTimeoutError(SECRET), Fault.TRANSIENT),
        (kafka_errors.NoBrokersAvailable(SECRET), Fault.TRANSIENT),
        (kafka_errors.LeaderNotAvailableError(SECRET), Fault.TRANSIENT),
        (kafka_errors.NotLeaderForPartitionError(SECRET), Fault.TRANSIENT),
        (kafka_errors.NotCoordinatorForGroupError(SECRET), Fault.TRANSIENT),
        (kafka_errors.GroupCoordinatorNotAvailableError(SECRET), Fault.TRANSIENT),
        (kafka_errors.GroupLoadInProgressError(SECRET), Fault.TRANSIENT),
        (kafka_errors.UnknownTopicOrPartitionError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.InvalidTopicError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.TopicAuthorizationFailedError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.GroupAuthorizationFailedError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.InconsistentGroupProtocolError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.ClusterAuthorizationFailedError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.AuthenticationFailedError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.SaslAuthenticationFailed(SECRET), Fault.CONFIGURATION),
        (kafka_errors.UnsupportedSaslMechanismError(SECRET), Fault.CONFIGURATION),
        (kafka_errors.CorruptRecordException(SECRET), Fault.UNKNOWN),
        (kafka_errors.IllegalStateError(SECRET), Fault.UNKNOWN),
        (RuntimeError(SECRET), Fault.UNKNOWN),
        (ValueError(SECRET), Fault.UNKNOWN),
        (AssertionError(SECRET), Fault.UNKNOWN),
        (MemoryError(SECRET), Fault.UNKNOWN),
        (KeyboardInterrupt(SECRET), Fault.UNKNOWN),
    ],
    ids=lambda argument: argument.name if isinstance(argument, Fault) else type(argument).__qualname__,
)
def test_an_error_of_the_clients_is_diagnosed_by_its_class(error: BaseException, fault: Fault) -> None:
    diagnosis = diagnose(error)

    assert diagnosis.fault is fault
    assert diagnosis.hint
    assert SECRET not in diagnosis.hint


@pytest.mark.parametrize(
    ("sqlstate", "advice"),
    [
        ("42P01", "pattern-metrics migrate up"),
        ("42703", "pattern-metrics migrate up"),
        ("42883", "pattern-metrics migrate up"),
        ("42P10", "pattern-metrics migrate up"),
        ("42501", "right"),
        ("28P01", "password"),
        ("3D000", "DATABASE_URL"),
        ("42704", "parameters after the ? of DATABASE_URL"),
    ],
)
def test_a_fault_of_the_set_up_says_what_to_do(sqlstate: str, advice: str) -> None:
    assert advice in diagnose(error_of(sqlstate)).hint


def test_an_unknown_topic_says_how_to_create_it() -> None:
    hint = diagnose(kafka_errors.UnknownTopicOrPartitionError()).hint

    assert "KAFKA_TOPIC" in hint
    assert "pattern-metrics topic create" in hint


def test_no_hint_repeats_the_text_of_an_error() -> None:
    hints = [diagnose(one(SECRET)).hint for one in _error_classes()]

    assert all(hints)
    assert not [hint for hint in hints if SECRET in hint]


@pytest.mark.parametrize("sqlstate", ["ZZ001", "PM999", "U0001", "99999"])
def test_an_sqlstate_that_only_an_operator_can_have_made_is_the_records_fault(sqlstate: str) -> None:
    assert diagnose(error_of(sqlstate)).fault is Fault.RECORD


def test_a_listener_without_sasl_is_the_operators_to_mend() -> None:
    assert diagnose(kafka_errors.IllegalSaslStateError()).fault is Fault.CONFIGURATION


def refused_certificate(code: int) -> ssl.SSLCertVerificationError:
    """Return the error that Python's ssl makes."""
    error = ssl.SSLCertVerificationError(1, SECRET)
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (9, "not valid yet"),
        (10, "has expired"),
        (18, "unknown CA"),
        (19, "unknown CA"),
        (20, "unknown CA"),
        (21, "unknown CA"),
        (62, "another host name"),
        (64, "another host name"),
        (7, "not trusted"),
    ],
)
def test_a_servers_certificate_is_reported_by_what_is_wrong_with_it(code: int, expected: str) -> None:
    diagnosis = diagnose(refused_certificate(code))

    assert diagnosis.fault is Fault.CONFIGURATION
    assert expected in diagnosis.hint
    assert SECRET not in diagnosis.hint


def test_a_late_refusal_of_our_certificate_is_found_behind_the_clients_error() -> None:
    refusal = ssl.SSLError(1, SECRET)
    refusal.reason = "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    error = kafka_errors.KafkaConnectionError(SECRET)
    error.__cause__ = refusal

    assert "KAFKA_SSL_CERTFILE" in diagnose(error).hint
    assert diagnose(error).fault is Fault.CONFIGURATION


def test_a_broken_tls_connection_is_transient() -> None:
    error = kafka_errors.KafkaConnectionError(SECRET)
    error.__cause__ = ssl.SSLEOFError(8, SECRET)

    assert diagnose(error).fault is Fault.TRANSIENT


def test_a_file_that_a_setting_names_is_the_operators_to_mend() -> None:
    diagnosis = diagnose(SettingFileError("KAFKA_SSL_CAFILE holds no certificate"))

    assert diagnosis.fault is Fault.CONFIGURATION
    assert "KAFKA_SSL_CAFILE" in diagnosis.hint


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "refused"), TimeoutError(), kafka_errors.KafkaError("x")], ids=repr
)
def test_an_error_names_the_server_of_its_note(error: Exception) -> None:
    assert server_of(error) is None

    error.add_note("2 replicas")
    error.add_note("Kafka at broker:9092")

    assert server_of(error) == "Kafka at broker:9092"
