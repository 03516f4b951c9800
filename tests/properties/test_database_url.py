"""For any DATABASE_URL, the driver uses exactly what we parsed, or the URL is refused without its secrets."""

import os
import traceback
from typing import Any

import pytest
from asyncpg import connect_utils
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.settings import DatabaseSettings, InvalidSettingError, load
from pattern_metrics.schemas.settings.database_url import DatabaseUrl, parse_database_url

SECRETS = ("Us3rSecret", "Pa55Secret", "S3cretEnd")

DRIVER_PARAMETERS = (
    *("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile"),
    *("direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
)
NO_SERVER_SETTINGS = {
    *("sslmode", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version", "passfile"),
    *("target_session_attrs", "krbsrvname", "gsslib", "sslpassword"),
}

# The texts that a variable of an operating system can hold: no NUL, and surrogates only for bytes that are
# not UTF-8.
VARIABLE_TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from("\udc80\udcff")
    | st.sampled_from("@/?#:%[]&=+,; \t\r\n'\"\\\uff1a\uff20\uff0f\u2100\u2047")
)
JUNK = VARIABLE_TEXT | st.sampled_from(
    ["", "", "", "%", "%zz", "%00", "%ff", "%40", "%2F", "%0A", "@", "?", "#"]
)

LOGINS = st.builds(
    lambda user, password, before, between, after: f"{before}{user}{between}{password}{after}{SECRETS[2]}@",
    st.sampled_from(["", SECRETS[0]]),
    st.sampled_from(["", f":{SECRETS[1]}"]),
    *(JUNK, JUNK, JUNK),
)
HOSTS = st.sampled_from(
    [
        *("", "h", "db.example.", "db_1-a", "127.0.0.1", "[::1]", "[fe80::1%25eth0]", "b\u00fccher.example"),
        *(
            "%2Frun%2Fpostgresql",
            "%2Ftmp%3A",
            "%62",
            "h%2Fx",
            "h%40x",
            "[127.0.0.1]",
            "[x]",
            "::1",
            "[::1",
            "]",
        ),
        *("a..b", "-", "x" * 64, "y." * 130, "\uff0e", "h\u2100", " ", "h h", "h%0A", "/run"),
    ]
)
PORTS = st.sampled_from(
    ["", "", ":5432", ":1", ":", ":0", ":65535", ":65536", ":x", ":-1", ":+1", ":\u0663", ":%35"]
)
PLACES = st.lists(st.builds(str.__add__, HOSTS, PORTS), max_size=3).map(",".join)
PATHS = st.sampled_from(["", "/", "/metrics", "/a%20b", "/a/b", "/%2F", "/%ff", "/ü", "//"]) | JUNK
PARAMETERS = st.sampled_from(
    [
        *(
            "",
            "x",
            "=",
            "=x",
            "x=",
            "a=b=c",
            "application_name=a+b",
            "options=-c%20geqo%3Doff",
            "x=%",
            "%00=x",
        ),
        *("host=h", "host=/tmp", "host=/tmp,/run", "host=h:1", "host=,", "host=[::1]", "port=1", "port=1,2"),
        *("port=x", "port=", "user=u", "user=v", "password=p", "dbname=d", "database=d", "passfile=/none"),
        *("sslmode=require", "sslmode=prefer", "sslmode=parse", "sslmode=", "sslnegotiation=postgres"),
        *("sslnegotiation=x", "ssl_min_protocol_version=TLSv1.2", "ssl_max_protocol_version=SSLv3"),
        *(
            "target_session_attrs=primary",
            "target_session_attrs=x",
            "gsslib=gssapi",
            "gsslib=x",
            "krbsrvname=k",
        ),
        *("statement_timeout=1s", "search_path=a%2Cb", "sslpassword=x", "\u00fc=\u00fc"),
    ]
)
QUERIES = st.lists(PARAMETERS, max_size=4).map(lambda pairs: f"?{'&'.join(pairs)}" if pairs else "")
SCHEMES = st.sampled_from(
    ["postgresql://"] * 8 + ["postgres://", "PostgreSQL://", "postgresql:", "mysql://", ""]
)

VALID = (
    "postgresql://worker:hunter2@127.0.0.1:5432/metrics?sslmode=require&application_name=x",
    "postgresql://worker:hunter2@db-1:5432,db-2:5433/metrics?target_session_attrs=primary",
    "postgresql://worker@[::1]:5432/metrics?options=-c%20geqo%3Doff",
    "postgres:///metrics?host=/run/postgresql&user=worker&password=hunter2",
)


@pytest.fixture(autouse=True, scope="module")
def own_environment() -> Any:
    """An environment in which the driver reads nothing but the URL."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        patch.setenv("USER", "default")
        patch.setenv("LOGNAME", "default")
        patch.setenv("HOME", "/nowhere")
        yield


def read(text: str) -> DatabaseUrl | str:
    """Return the parts of an accepted URL, or the message that refuses it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", text)
        try:
            settings = load(DatabaseSettings)
        except InvalidSettingError as error:
            message = str(error)
            assert message.startswith("DATABASE_URL: ")
            assert message.isprintable()
            return "".join(traceback.format_exception(error))
    assert settings.database_url.get_secret_value() == text
    return parse_database_url(text)


def assert_driver_agrees(url: DatabaseUrl) -> None:
    given_to_driver: dict[str, Any] = {**dict.fromkeys(DRIVER_PARAMETERS), **url.driver_options()}
    addresses, driver = connect_utils._parse_connect_dsn_and_args(**given_to_driver)  # type: ignore[attr-defined]
    user = url.user or "default"
    settings = {name: text for name, text in url.parameters.items() if name not in NO_SERVER_SETTINGS}

    assert given_to_driver["dsn"].isascii()
    assert (driver.user, driver.password, driver.database) == (user, url.password, url.database or user)
    assert (driver.server_settings or {}) | url.settings == settings
    assert (driver.server_settings or {}).keys() <= {"options"}, "a pooler refuses others in the login"
    assert driver.target_session_attrs.value == url.parameters.get("target_session_attrs", "any")
    if url.hosts:
        ports = url.ports or (5432,)
        places = zip(url.hosts, ports if len(ports) > 1 else ports * len(url.hosts), strict=True)
        assert addresses == [
            f"{host.removesuffix('/')}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
            for host, port in places
        ]


def is_refused_by_the_driver_itself(url: DatabaseUrl) -> bool:
    """Return whether the driver refuses it too, for what depends on the environment: ports without hosts."""
    return not url.hosts and len(url.ports) > 1


@settings(max_examples=500)
@given(scheme=SCHEMES, login=LOGINS, places=PLACES, path=PATHS, query=QUERIES)
@example("postgresql://", "admin@srv:Pa55Secret@", "127.0.0.1:5432", "/db", "")
@example("postgresql://", "worker:Pa55Secret@S3cretEnd@", "127.0.0.1", "/db", "")
@example("postgresql://", "worker:Pa55Secret\uff1aS3cretEnd@", "h", "/m", "")
@example("postgresql://", "worker:Pa55Secret@", "h1,worker:S3cretEnd@h2", "/m", "")
@example("postgresql://", "worker:Pa55Secret@", "h", "/m", "?password=S3cretEnd")
@example("postgresql://", "worker:Pa55Secret@", "h", "/m", "?user=Us3rSecret@h")
@example("postgresql://", "worker:Pa55Secret/S3cretEnd@", "h", "/m", "")
@example("postgresql://", "worker:Pa55Secret?S3cretEnd@", "h", "/m", "")
@example("postgresql://", "worker:Pa55Secret#S3cretEnd@", "h", "/m", "")
@example("postgresql://", "worker:Pa55Secret%2FS3cretEnd@", "h", "/m", "")
def test_no_part_of_a_login_is_printed_or_taken_for_a_host(
    scheme: str, login: str, places: str, path: str, query: str
) -> None:
    url = read(scheme + login + places + path + query)

    if isinstance(url, str):
        assert not [secret for secret in SECRETS if secret in url]
        return
    shown = [repr(url), *url.hosts, str(url.driver_options()["host"])]
    assert not [secret for secret in SECRETS for text in shown if secret in text]
    if not is_refused_by_the_driver_itself(url):
        assert_driver_agrees(url)


@settings(max_examples=500)
@given(places=PLACES, path=PATHS, query=QUERIES)
def test_the_driver_uses_a_url_as_it_was_read(places: str, path: str, query: str) -> None:
    url = read(f"postgresql://{places}{path}{query}")

    if isinstance(url, DatabaseUrl) and not is_refused_by_the_driver_itself(url):
        assert_driver_agrees(url)


@settings(max_examples=500)
@given(user=VARIABLE_TEXT, password=VARIABLE_TEXT, database=VARIABLE_TEXT)
def test_every_login_can_be_written(user: str, password: str, database: str) -> None:
    parts = [text.encode(errors="ignore") for text in (user, password, database)]
    login = ["".join(f"%{byte:02X}" for byte in part) for part in parts]
    url = read(f"postgresql://{login[0]}:{login[1]}@h/{login[2]}")

    assert isinstance(url, DatabaseUrl)
    assert [url.user, url.password, url.database] == [part.decode() or None for part in parts]
    assert_driver_agrees(url)


@settings(max_examples=500)
@given(text=VARIABLE_TEXT | st.sampled_from(VALID), data=st.data())
def test_any_text_is_used_or_refused(text: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(text)))
    removed = data.draw(st.integers(0, 2))
    changed = text[:position] + data.draw(JUNK) + text[position + removed :]
    url = read(changed or " ")

    if isinstance(url, str):
        assert "hunter2" not in url
    elif not is_refused_by_the_driver_itself(url) and "service" not in url.parameters:
        assert_driver_agrees(url)


@settings(max_examples=500)
@given(text=st.text(st.characters()) | VARIABLE_TEXT)
def test_any_text_of_an_option_is_used_or_refused(text: str) -> None:
    message = ""
    try:
        load(DatabaseSettings, {"database_url": text})
    except InvalidSettingError as error:
        message = str(error)

    assert message.startswith("--database-url: ") or not message
    assert message.isprintable()
