"""The settings: their defaults, their sources, and the message about a wrong setting."""

import socket
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import UnknownTopicOrPartitionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.http.listening import take_port
from pattern_metrics.consumer.settings import (
    DatabaseSettings,
    GatewaySettings,
    HttpSettings,
    InvalidSettingError,
    LogSettings,
    McpSettings,
    WorkerSettings,
    load,
)
from pattern_metrics.schemas.settings.base import Settings
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings, SettingFileError
from pattern_metrics.schemas.settings.token_provider import TokenProviderError
from pattern_metrics.schemas.settings.variables import (
    ENV_FILE,
    EnvFileError,
    find_variables,
    hint_at_unread_file,
)

SECRET = "hunter2"
DATABASE_URL = f"postgresql://worker:{SECRET}@127.0.0.1:5432/metrics"

SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "worker",
    "KAFKA_SASL_PASSWORD": SECRET,
}

pytestmark = pytest.mark.usefixtures("clean_environment")


def set_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)


def refusal(settings_class: type[Settings] = WorkerSettings) -> InvalidSettingError:
    with pytest.raises(InvalidSettingError) as caught:
        load(settings_class)
    return caught.value


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("kafka_bootstrap_servers", "localhost:9092"),
        ("kafka_topic", "pattern-scored.v1"),
        ("kafka_group_id", "pattern-metrics"),
        ("kafka_group_instance_id", None),
        ("kafka_security_protocol", "PLAINTEXT"),
        ("batch_max_records", 10_000),
        ("batch_max_wait_ms", 0),
        ("max_clock_skew_seconds", 300),
        ("dead_letter_max_consecutive", 10_000),
        ("shutdown_grace_seconds", 25),
        ("http_host", "127.0.0.1"),
        ("http_port", 8080),
    ],
)
def test_a_setting_has_its_default(field: str, default: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL)

    assert getattr(load(WorkerSettings), field) == default


def test_the_log_level_has_its_default() -> None:
    assert load(LogSettings) == LogSettings(log_level="INFO", log_format=None)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, str.swapcase])
@pytest.mark.parametrize(
    ("settings_class", "field", "word"),
    [
        *((LogSettings, "log_level", level) for level in ("DEBUG", "INFO", "WARNING", "ERROR")),
        *((LogSettings, "log_format", form) for form in ("console", "json")),
        *(
            (KafkaSettings, "kafka_security_protocol", protocol)
            for protocol in ("PLAINTEXT", "SSL", "SASL_SSL")
        ),
        *(
            (KafkaSettings, "kafka_sasl_mechanism", name)
            for name in ("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER")
        ),
    ],
)
def test_a_setting_of_few_words_accepts_them_in_any_case(
    settings_class: type[Settings],
    field: str,
    word: str,
    spell: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_environment(monkeypatch, KAFKA_SASL_MECHANISM="PLAIN", KAFKA_SASL_USERNAME="worker")
    set_environment(monkeypatch, KAFKA_SASL_PASSWORD="hunter2", **{field.upper(): spell(word)})

    assert getattr(load(settings_class), field) == word


@pytest.mark.parametrize(
    ("settings_class", "field"),
    [
        (settings_class, name)
        for settings_class in (WorkerSettings, GatewaySettings, McpSettings)
        for name, field in settings_class.model_fields.items()
        if "Path" in str(field.annotation)
    ],
)
def test_a_path_may_begin_with_the_home_directory(
    settings_class: type[Settings], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a shell replaces the ~; a file of variables and Docker pass it on."""
    (tmp_path / "file").touch()
    set_environment(monkeypatch, HOME=str(tmp_path), DATABASE_URL=DATABASE_URL)
    set_environment(monkeypatch, **{field.upper(): "~/file"})
    other = {"kafka_ssl_certfile": "kafka_ssl_keyfile", "kafka_ssl_keyfile": "kafka_ssl_certfile"}.get(field)
    if other is not None:
        set_environment(monkeypatch, **{other.upper(): "~/file"})

    assert load(settings_class).model_dump()[field] == tmp_path / "file"


def test_each_setting_is_described() -> None:
    fields = {**WorkerSettings.model_fields, **LogSettings.model_fields}

    assert not [name for name, field in fields.items() if not field.description]


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL, BATCH_MAX_RECORDS="7", KAFKA_TOPIC="t")
    settings = load(WorkerSettings)

    assert (settings.batch_max_records, settings.kafka_topic) == (7, "t")
    assert settings.database_url.get_secret_value() == DATABASE_URL


SPELLINGS = st.sampled_from([str.upper, str.upper, str.lower, str.title])
TEXTS = st.sampled_from([None, "", "one", "two", "three", "four"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), spell=SPELLINGS, option=st.sampled_from([None, "five"]))
def test_the_option_beats_environment_and_file_and_the_prefix_wins_in_each(
    texts: tuple[str | None, ...],
    spell: Callable[[str], str],
    option: str | None,
    clean_environment: Path,
) -> None:
    """An empty variable counts as unset."""
    name = spell("KAFKA_TOPIC")
    prefixed = spell("PATTERN_METRICS_KAFKA_TOPIC")
    sources = list(zip([prefixed, name, prefixed, name], texts, strict=True))
    _, path = tempfile.mkstemp(dir=clean_environment)
    file = Path(path)
    file.write_text("".join(f"{name}={text}\n" for name, text in sources[2:] if text is not None))
    winner = next(((name, text) for name, text in sources if text), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENV_FILE, path)
        set_environment(patch, **{name: text for name, text in sources[:2] if text is not None})
        topic = load(KafkaSettings, {} if option is None else {"kafka_topic": option}).kafka_topic
        found = find_variables(["kafka_topic"]).get("kafka_topic")

    assert topic == (option or (winner[1] if winner else "pattern-scored.v1"))
    assert (found and (found.name, found.text)) == winner
    assert found is None or found.file == (None if any(texts[:2]) else path)


def test_a_file_in_the_working_directory_is_not_read(clean_environment: Path) -> None:
    (clean_environment / ".env").write_text(f"DATABASE_URL={DATABASE_URL}\nKAFKA_TOPIC=of-another\n")

    assert load(KafkaSettings).kafka_topic == "pattern-scored.v1"
    assert str(refusal()) == (
        "DATABASE_URL: is required; the file .env of this directory is not read: use --env-file .env"
    )


@pytest.mark.parametrize("content", ["", "OTHER=1\n", "DATABASE_URL=\n", "DATABASE_URL", "no line\n", "\xff"])
def test_a_file_that_would_not_help_is_not_mentioned(content: str, clean_environment: Path) -> None:
    (clean_environment / ".env").write_text(content, encoding="latin-1")

    assert str(refusal()) == "DATABASE_URL: is required"


@pytest.mark.parametrize(
    "name", ["PATTERN_METRICS_BATCH_MAX_RECORDS", "batch_max_records", "Batch_Max_Records"]
)
def test_an_error_names_the_variable_that_was_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL, **{name: "0"})

    assert str(refusal()).startswith(f"{name}: ")


def test_an_error_names_the_variable_and_its_file(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_environment / "our.env").write_text("export PATTERN_METRICS_KAFKA_TOPIC='a b'\n")
    set_environment(monkeypatch, PATTERN_METRICS_ENV_FILE="our.env", DATABASE_URL=DATABASE_URL)

    assert str(refusal()).startswith("PATTERN_METRICS_KAFKA_TOPIC in our.env: ")


def test_an_error_of_two_settings_and_one_that_comes_later_name_what_was_set(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_environment / "ca.pem").write_text("none")
    prefixed = {f"PATTERN_METRICS_{name}": text for name, text in SASL.items()}
    set_environment(monkeypatch, **prefixed)
    ours = load(KafkaSettings)
    set_environment(monkeypatch, PATTERN_METRICS_KAFKA_SSL_CAFILE="ca.pem")
    set_environment(monkeypatch, PATTERN_METRICS_KAFKA_SECURITY_PROTOCOL="SASL_SSL")

    assert str(refusal(KafkaSettings)) == (
        "PATTERN_METRICS_KAFKA_SSL_CAFILE holds no certificate in PEM form"
    )
    with pytest.raises(SettingFileError, match=r"^PATTERN_METRICS_KAFKA_SSL_CAFILE "):
        ours.model_copy(
            update={"kafka_ssl_cafile": Path("ca.pem"), "kafka_security_protocol": "SSL"}
        ).client_options()
    hint = diagnose(UnknownTopicOrPartitionError()).hint
    set_environment(monkeypatch, PATTERN_METRICS_KAFKA_TOPIC="t")

    assert "KAFKA_TOPIC" in hint
    assert diagnose(UnknownTopicOrPartitionError()).hint == hint.replace(
        "KAFKA_TOPIC", "PATTERN_METRICS_KAFKA_TOPIC"
    )


def test_a_port_that_is_taken_is_named_by_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        set_environment(monkeypatch, PATTERN_METRICS_HTTP_PORT=str(taken.getsockname()[1]))
        with pytest.raises(InvalidSettingError, match=r"^PATTERN_METRICS_HTTP_PORT: cannot listen"):
            take_port(load(HttpSettings))


def test_the_unread_file_is_mentioned_only_for_what_is_not_set(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_environment / ".env").write_text("PATTERN_METRICS_KAFKA_BOOTSTRAP_SERVERS=broker\n")
    assert "--env-file .env" in hint_at_unread_file("kafka_bootstrap_servers")
    assert not hint_at_unread_file("database_url")

    set_environment(monkeypatch, KAFKA_BOOTSTRAP_SERVERS="broker")
    assert not hint_at_unread_file("kafka_bootstrap_servers")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"KAFKA_SASL_PASSWORD=hunter2\xff\n", "is not UTF-8"),
        (b"KAFKA_TOPIC=t\n\nhunter2 hunter2\n", "line 3 is not NAME=VALUE"),
        (b"KAFKA_SASL_PASSWORD='hunter2\n", "line 1 is not NAME=VALUE"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_repeated(
    content: bytes | None, why: str, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = clean_environment / "our.env"
    if content is not None:
        file.write_bytes(content)
    set_environment(monkeypatch, PATTERN_METRICS_ENV_FILE=str(file))

    assert str(refusal(LogSettings)) == f"PATTERN_METRICS_ENV_FILE: {file}: {why}"
    with pytest.raises(EnvFileError):
        KafkaSettings()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL, BATCH_MAX_RECORDS="", KAFKA_SASL_MECHANISM="")
    settings = load(WorkerSettings)

    assert (settings.batch_max_records, settings.kafka_sasl_mechanism) == (10_000, None)


@pytest.mark.parametrize(
    ("text", "path"), [("", ()), ("payload", ("payload",)), ("body.pay load.é", ("body", "pay load", "é"))]
)
def test_the_field_of_an_envelope_is_a_dotted_path(
    text: str, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL, KAFKA_ENVELOPE_FIELD=text)

    assert load(WorkerSettings).envelope == path


@pytest.mark.parametrize("wrong", [".", "a.", ".a", "a..b", ".".join("abcdefghijk")])
def test_a_path_with_an_empty_or_an_eleventh_name_is_refused(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL, KAFKA_ENVELOPE_FIELD=wrong)

    with pytest.raises(InvalidSettingError, match="KAFKA_ENVELOPE_FIELD"):
        load(WorkerSettings)


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, DATABASE_URL=DATABASE_URL)
    settings = load(WorkerSettings)

    with pytest.raises(ValueError, match="frozen"):
        settings.batch_max_records = 1  # type: ignore[misc]


def test_a_missing_database_url_is_named() -> None:
    for settings_class in (WorkerSettings, DatabaseSettings):
        assert str(refusal(settings_class)).startswith("DATABASE_URL: ")


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True), min_size=1, max_size=4),
    st.sampled_from([",", ", ", " , ", ",\t"]),
)
def test_a_list_of_topics_has_each_topic_once_however_it_is_written(topics: list[str], comma: str) -> None:
    settings = KafkaSettings(kafka_topic=comma.join([*topics, *topics]))

    assert settings.kafka_topics == tuple(dict.fromkeys(topics))
    assert settings.kafka_topic == ", ".join(dict.fromkeys(topics))
    assert [one.kafka_topic for one in settings.each_topic()] == list(settings.kafka_topics)


HUGE = "9" * 400

WRONG = {
    "KAFKA_TOPIC": ("a b", "ü", "a/b", "a" * 250, "a\n", "a,", ",a", "a,,b", "a,b c", ", "),
    "KAFKA_SECURITY_PROTOCOL": (SECRET, "sasl", "plain text"),
    "KAFKA_SASL_MECHANISM": (SECRET, "GSSAPI"),
    "KAFKA_ENABLE_IDEMPOTENCE": (SECRET, "2"),
    "DATABASE_URL": (
        SECRET,
        f"mysql://u:{SECRET}@h/d",
        f"//{SECRET}",
        f"http://u:{SECRET}[@h/d",
        "postgresql",
    ),
    "MAX_CLOCK_SKEW_SECONDS": (SECRET, "-1", "1.5", "300s", "inf", "nan", HUGE),
    "BATCH_MAX_RECORDS": (SECRET, "0", "-1", "100001", "1e3", HUGE),
    "BATCH_MAX_WAIT_MS": (SECRET, "-1", "60001", HUGE),
    "DEAD_LETTER_MAX_CONSECUTIVE": (SECRET, "0", "-1"),
    "SHUTDOWN_GRACE_SECONDS": (SECRET, "0", "-1", "0.5", HUGE),
}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        pytest.param(name, wrong, id=f"{name}={wrong[:20]!r}")
        for name, wrongs in WRONG.items()
        for wrong in wrongs
    ],
)
def test_a_wrong_setting_is_reported_in_one_line_that_names_it_and_not_its_value(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, **{"DATABASE_URL": DATABASE_URL, name: wrong})
    error = refusal()

    assert str(error).startswith(f"{name}: ")
    assert "\n" not in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))
    assert HUGE not in str(error)


@pytest.mark.parametrize(
    ("name", "wrong"), [("LOG_LEVEL", SECRET), ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml")]
)
def test_a_wrong_setting_of_the_log_is_named(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **{name: wrong})
    error = refusal(LogSettings)

    assert str(error).startswith(f"{name}: ")
    assert wrong not in str(error).split()


@pytest.mark.parametrize(
    "servers",
    [
        *("broker:none", "broker:9092,other:none", "broker:1:2"),
        *(",", "broker:9092,", " ", ":9092", "http://broker:9092", "broker:9092/topic", "broker?ssl=true"),
        *("broker:", "broker:0", "broker:65536", "a..b:9092", "[broker]:9092", "::1", "br\u2100ker", "a b:1"),
    ],
)
def test_a_wrong_list_of_brokers_is_reported_as_a_wrong_setting(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, KAFKA_BOOTSTRAP_SERVERS=servers)

    assert str(refusal(KafkaSettings)) == "KAFKA_BOOTSTRAP_SERVERS: is not a list of host:port"


@pytest.mark.parametrize(
    "servers",
    [
        "worker:hunter2@broker:9092",
        "broker:9092,worker:hunter2@other:9092",
        "SASL_SSL://w:hunter2@broker:9092",
    ],
)
def test_a_login_among_the_brokers_is_refused_with_the_remedy(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, KAFKA_BOOTSTRAP_SERVERS=servers)
    message = str(refusal(KafkaSettings))

    assert message.startswith("KAFKA_BOOTSTRAP_SERVERS: ")
    assert "KAFKA_SASL_PASSWORD" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    "servers", ["broker", "broker:9092", " one:1 , two:2", "[::1]:9092", "10.0.0.1:9092"]
)
def test_every_form_of_a_list_of_brokers_is_taken(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, KAFKA_BOOTSTRAP_SERVERS=servers)

    assert load(KafkaSettings).kafka_bootstrap_servers == servers


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://worker:hun/ter2@127.0.0.1:5432/metrics",
        "postgresql://worker:hun?ter2@127.0.0.1:5432/metrics",
        "postgresql://worker:hun#ter2@127.0.0.1:5432/metrics",
        "postgresql://worker:hunter2@127.0.0.1:none/metrics",
        "postgresql://worker:hunter2@127.0.0.1:99999/metrics",
        "postgresql://worker@127.0.0.1/metrics?target_session_attrs=hunter2",
    ],
)
def test_a_database_url_that_cannot_be_read_is_reported_as_a_wrong_setting(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bare `/`, `?` or `#` in the password, the driver's error would print a part of it."""
    set_environment(monkeypatch, DATABASE_URL=url)
    error = refusal()

    assert str(error).startswith("DATABASE_URL: ")
    assert "hun" not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        DATABASE_URL,
        "postgres://worker@localhost/metrics",
        "postgresql://worker@db-1:5432,db-2:5433/metrics?target_session_attrs=primary",
        "postgresql://worker@[::1]:5432/metrics",
        "postgresql://worker:hun%2Fter2@localhost/metrics?sslmode=require",
        "postgresql:///metrics?host=/var/run/postgresql",
        "postgresql://",
    ],
)
def test_every_form_of_a_database_url_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, DATABASE_URL=url)

    assert load(DatabaseSettings).database_url.get_secret_value() == url


@pytest.mark.parametrize("lacking", ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_setting_that_a_protocol_needs_is_named(
    lacking: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, **SASL, DATABASE_URL=DATABASE_URL)
    set_environment(monkeypatch, KAFKA_SECURITY_PROTOCOL=protocol, **{lacking: ""})
    message = str(refusal())

    assert lacking in message
    assert SECRET not in message


def test_no_secret_is_in_any_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **SASL, DATABASE_URL=DATABASE_URL)
    settings = load(WorkerSettings)
    texts = [
        str(settings),
        repr(settings),
        f"{settings}",
        str(settings.model_dump()),
        settings.model_dump_json(),
    ]

    assert not [text for text in texts if SECRET in text]
    assert settings.client_options()["sasl_plain_password"] == SECRET


def test_no_secret_is_in_an_error_about_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **SASL, DATABASE_URL=DATABASE_URL, BATCH_MAX_RECORDS="0")

    assert SECRET not in "".join(traceback.format_exception(refusal()))


def test_no_secret_is_in_an_error_raised_by_the_class_itself() -> None:
    with pytest.raises(ValueError, match="database_url") as caught:
        WorkerSettings.model_validate({"database_url": f"mysql://u:{SECRET}@h/d"})

    assert SECRET not in str(caught.value)


def test_the_clients_get_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **SASL, KAFKA_BOOTSTRAP_SERVERS="a:1,b:2")

    assert load(KafkaSettings).client_options() == {
        "bootstrap_servers": "a:1,b:2",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "worker",
        "sasl_plain_password": SECRET,
    }


def test_a_plain_client_gets_neither_login_nor_certificates() -> None:
    assert set(load(KafkaSettings).client_options()) == {"bootstrap_servers", "security_protocol"}


def test_with_tls_the_servers_certificate_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, KAFKA_SECURITY_PROTOCOL="SSL")
    context = load(KafkaSettings).client_options()["ssl_context"]

    assert context.check_hostname


@pytest.mark.parametrize("name", ["KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"])
def test_a_file_that_is_not_there_is_reported_as_a_wrong_setting(
    name: str, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (clean_environment, clean_environment / "none.pem"):
        set_environment(monkeypatch, **{name: str(path)})

        assert str(refusal(KafkaSettings)).startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE"])
def test_a_file_that_holds_no_certificate_is_reported_as_a_wrong_setting(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (clean_environment / "no.pem").write_text(SECRET)
    set_environment(monkeypatch, KAFKA_SECURITY_PROTOCOL="SSL", **{name: "no.pem"})

    message = str(refusal(KafkaSettings))

    assert name in message
    assert SECRET not in message


def test_a_certificate_file_that_was_rotated_badly_is_an_error_of_the_system(
    clean_environment: Path,
) -> None:
    """A running worker then waits until the file is fixed."""
    rotated = clean_environment / "ca.pem"
    rotated.write_text(SECRET)
    settings = KafkaSettings().model_copy(
        update={"kafka_security_protocol": "SSL", "kafka_ssl_cafile": rotated}
    )

    with pytest.raises(OSError, match="KAFKA_SSL_CAFILE") as caught:
        settings.client_options()

    assert SECRET not in str(caught.value)


def test_a_password_may_come_from_a_file_which_is_read_again_each_time(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = clean_environment / "password"
    password.write_text(f"{SECRET}\n")
    set_environment(monkeypatch, **SASL)
    set_environment(monkeypatch, KAFKA_SASL_PASSWORD="", KAFKA_SASL_PASSWORD_FILE=str(password))
    settings = load(KafkaSettings)
    before = settings.client_options()["sasl_plain_password"]
    password.write_text(" rotated ")

    assert (before, settings.client_options()["sasl_plain_password"]) == (SECRET, " rotated ")


def test_a_password_file_that_is_no_text_is_reported_as_a_wrong_setting(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_environment / "password").write_bytes(b"hunter2\xff")
    set_environment(monkeypatch, **SASL, KAFKA_SASL_PASSWORD_FILE="password")
    error = refusal(KafkaSettings)

    assert "KAFKA_SASL_PASSWORD_FILE" in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))


TOKENS = """
from aiokafka.abc import AbstractTokenProvider

class Tokens(AbstractTokenProvider):
    async def token(self):
        raise RuntimeError("hunter2")
    def extensions(self):
        raise RuntimeError("hunter2")

class NoText(AbstractTokenProvider):
    async def token(self):
        return b"hunter2"

def failing():
    raise RuntimeError("hunter2")
"""


@pytest.fixture
def tokens(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create an operator's module, set OAUTHBEARER in the environment, and return the module's name."""
    name = f"tokens_{clean_environment.name}".replace("-", "_")
    (clean_environment / f"{name}.py").write_text(TOKENS)
    monkeypatch.syspath_prepend(clean_environment)
    set_environment(monkeypatch, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_MECHANISM="OAUTHBEARER")
    return name


def test_tokens_come_from_the_one_provider_of_the_process(
    tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, KAFKA_SASL_OAUTH_TOKEN_PROVIDER=f"{tokens}:Tokens")
    settings = load(KafkaSettings)
    first, second = (settings.client_options()["sasl_oauth_token_provider"] for _ in range(2))

    assert isinstance(first, AbstractTokenProvider)
    assert first is second


@pytest.mark.parametrize("name", ["", "{}", "{}:", "{}:missing", "missing:Tokens"])
def test_a_token_provider_that_is_not_there_is_reported_as_a_wrong_setting(
    name: str, tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, KAFKA_SASL_OAUTH_TOKEN_PROVIDER=name.format(tokens))

    assert "KAFKA_SASL_OAUTH_TOKEN_PROVIDER" in str(refusal(KafkaSettings))


@pytest.mark.parametrize("factory", ["Tokens", "NoText", "failing"])
async def test_an_error_of_a_token_provider_is_the_operators_and_repeats_nothing(
    factory: str, tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, KAFKA_SASL_OAUTH_TOKEN_PROVIDER=f"{tokens}:{factory}")
    settings = load(KafkaSettings)

    with pytest.raises(TokenProviderError) as caught:
        await settings.client_options()["sasl_oauth_token_provider"].token()

    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert diagnose(caught.value).fault is Fault.CONFIGURATION


def test_an_error_of_a_token_providers_extensions_repeats_nothing(
    tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, KAFKA_SASL_OAUTH_TOKEN_PROVIDER=f"{tokens}:Tokens")
    provider = load(KafkaSettings).client_options()["sasl_oauth_token_provider"]

    with pytest.raises(TokenProviderError) as caught:
        provider.extensions()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_latest_acceptable_time_is_now_and_the_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, MAX_CLOCK_SKEW_SECONDS="60")
    before = datetime.now(UTC)
    assert load(ClockSettings).accepted_until(before) - before == timedelta(seconds=60)


@pytest.mark.parametrize("seconds", ["999999999999999", HUGE], ids=len)
def test_a_skew_that_no_clock_can_add_is_reported_as_a_wrong_setting(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, MAX_CLOCK_SKEW_SECONDS=seconds)

    assert str(refusal(ClockSettings)).startswith("MAX_CLOCK_SKEW_SECONDS: ")
