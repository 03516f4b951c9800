"""The settings of the worker and of the commands. Each field's name in upper case is its variable's."""

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator

from pattern_metrics.schemas.settings.base import Settings
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.database_url import effective_database_url
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.outbox import OutboxSettings
from pattern_metrics.schemas.settings.variables import (
    ENV_FILE,
    EnvFileError,
    find_variables,
    hint_at_unread_file,
    with_variables,
)

SettingsT = TypeVar("SettingsT", bound=Settings)

MISSING: Final = "is required"

_NO_OPTIONS: Final[Mapping[str, Any]] = {}


class InvalidSettingError(Exception):
    """A setting is missing or wrong; the message is one line that names its variable and holds no value."""

    def __init__(self, message: str) -> None:
        super().__init__(with_variables(message))


class LogSettings(Settings):
    """The level and the form of the log, which goes to standard error."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        description="The least severe log line that is written to standard error: DEBUG, INFO, WARNING or "
        "ERROR, in any case.",
    )
    log_format: Literal["console", "json"] | None = Field(
        default=None,
        description="The form of the log lines: console (for people) or json (one object a line), in any "
        "case. Without it, console on a terminal and json elsewhere.",
    )


class DatabaseSettings(Settings):
    """The database, and whether it keeps the history."""

    database_url: SecretStr = Field(
        description="The PostgreSQL database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE. After a ? "
        "stand parameters of libpq that asyncpg knows, such as sslmode, and settings for the session. "
        "Required by all commands that use the database; its login is never printed. In all parts "
        "write @ / ? # % as %40 %2F %3F %23 %25: a URL that can be read in two ways is refused. With several "
        "hosts and target_session_attrs=primary, connections follow a failover. "
        "sslrootcert=system verifies the server by the system's CA certificates. client_encoding, "
        "standard_conforming_strings and session_replication_role are refused, because they would change "
        "what is stored. Files that it names (passfile, sslrootcert, sslcert, sslkey) are read again at "
        "each connection.",
    )
    history_enabled: bool = Field(
        default=False,
        description="Keep every measurement as well, in the table pattern_quality_history. With false, only "
        "each pattern's current row is kept.",
    )

    @field_validator("database_url", mode="before")
    @classmethod
    def _require_usable(cls, value: object) -> object:
        """Check the URL before pydantic does, whose message for bytes that are not UTF-8 has no remedy."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and not effective_database_url(text).names_user:
            _require_default_user()
        return value


def _require_default_user() -> None:
    try:
        os.environ.get("PGUSER") or getpass.getuser()
    except (KeyError, OSError):
        raise ValueError(
            "names no USER, and this process has no name: write postgresql://USER@HOST/DATABASE"
        ) from None


class EnvelopeSettings(Settings):
    """The place of the event in a record's value."""

    kafka_envelope_field: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+){0,9}$")] | None = Field(
        default=None,
        description="The field that holds the event, if your producers wrap events in an envelope of their "
        "own: a name such as payload, or a dotted path of at most ten names. Without it, the record's value "
        "is the event.",
    )

    @property
    def envelope(self) -> tuple[str, ...]:
        """The names of the fields that lead to the event; empty if the value is the event."""
        return tuple(self.kafka_envelope_field.split(".")) if self.kafka_envelope_field else ()


class HttpSettings(Settings):
    """The address of the HTTP server."""

    http_host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1",
        description="The address at which consume and dashboard serve the page, /livez, /readyz and "
        "/metrics, and at which gateway takes events. 0.0.0.0 is every address of the machine. On a loopback "
        "address, only requests to localhost or a loopback address are answered; others get status 421.",
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="The TCP port of HTTP_HOST. 0 turns HTTP off, which only consume allows."
    )


class ApiSettings(HttpSettings):
    """The address of the page and the read API, and who may read them."""

    api_tokens_file: Path | None = Field(
        default=None,
        description="The file of the tokens that the read API and the page require, in the form of "
        "GATEWAY_TOKENS_FILE. It is read again when it changes. Without it, only this machine may "
        "read, by a loopback address; other machines get status 403. /livez, /readyz and /metrics need no "
        "token.",
    )
    api_open_to_all: bool = Field(
        default=False,
        description="Let everybody who can reach HTTP_HOST read without a token, because something else "
        "decides who can: a proxy with a login, a network policy, a port that is published on loopback. "
        "API_TOKENS_FILE takes precedence.",
    )


class WorkerSettings(KafkaSettings, EnvelopeSettings, DatabaseSettings, ClockSettings, ApiSettings):
    """The settings of `consume`."""

    kafka_group_id: Annotated[str, Field(min_length=1)] = Field(
        default="pattern-metrics",
        description="The consumer group. Workers with the same group share the topic's partitions. Progress "
        "in the database is kept per group.",
    )
    kafka_group_instance_id: str | None = Field(
        default=None,
        description="A name of this worker that outlives a restart (static membership, KIP-345): the group "
        "then keeps the worker's partitions for it while it restarts. Each worker of a group needs a name "
        "of its own; with --processes, each process appends -0, -1 and so on. If two workers have one name, "
        "the worker that joined last reads. The other worker is not ready, and joins again once the name has "
        "been free for the session time-out of 10 s.",
    )
    batch_max_records: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=10_000,
        description="The most records that are written in one transaction. A batch also ends at 16 MiB of "
        "values. Larger batches are faster and take more memory.",
    )
    batch_max_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=0,
        description="How long an incomplete batch waits for more records, in milliseconds. With 0, a batch "
        "waits only while records trickle in at more than 150 a second, and for at most 10 ms. A longer wait "
        "saves transactions and delays each row by up to this time.",
    )
    dead_letter_max_consecutive: Annotated[int, Field(ge=1)] = Field(
        default=10_000,
        description="The number of invalid records in a row, without a valid one between them, at which the "
        "worker pauses and is not ready: a producer is most likely wrong. With --processes, each process "
        "counts its own records.",
    )
    shutdown_grace_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=25,
        description="How long a worker that is stopped may take to write and commit its last batch, in "
        "seconds. It then takes up to 5 s more to leave the group. Give the supervisor a longer time-out "
        "than both.",
    )


class GatewaySettings(KafkaSettings, ClockSettings, HttpSettings, OutboxSettings):
    """The settings of `gateway`."""

    gateway_tokens_file: Path | None = Field(
        default=None,
        description="The file of the tokens with which agents publish through the gateway: one NAME SHA256 "
        "a line, where SHA256 is the hexadecimal digest of the token. The name becomes the CloudEvents "
        "source of the agent's events. The file is read again when it changes. Without it, the gateway "
        "needs no token, and serves a loopback address only.",
    )


class McpSettings(WorkerSettings, GatewaySettings):  # type: ignore[misc] # pydantic's plugin: both have two bases
    """The settings of `mcp`."""

    mcp_tokens_file: Path | None = Field(
        default=None,
        description="The file of the tokens that `mcp --http` requires, in the form of GATEWAY_TOKENS_FILE. "
        "The name of a token becomes the CloudEvents source of the events that its client publishes. Without "
        "it, only a loopback address is served, to everybody on this machine.",
    )
    mcp_allowed_hosts: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\[\]-]+(\s*,\s*[A-Za-z0-9._:\[\]-]+)*$")] | None
    ) = Field(
        default=None,
        description="The host names under which clients reach `mcp --http`, separated by commas, such as "
        "mcp.example.com. Requests to another name get status 421 (protection against DNS rebinding). "
        "Required beyond a loopback address.",
    )

    @property
    def allowed_hosts(self) -> list[str]:
        """The names of MCP_ALLOWED_HOSTS, and the same names with any port."""
        names = [name.strip() for name in (self.mcp_allowed_hosts or "").split(",")]
        return [form for name in names if name for form in (name, f"{name}:*")]


class DashboardSettings(DatabaseSettings, ApiSettings):
    """The settings of `dashboard`."""


def load(settings_class: type[SettingsT], options: Mapping[str, Any] = _NO_OPTIONS) -> SettingsT:
    """Read settings from their variables.

    Args:
        settings_class: the settings to read.
        options: values from the command line, by field; they override the environment.

    Raises:
        InvalidSettingError: names the first variable, or the option, that is missing or wrong.
    """
    try:
        return settings_class(**options)
    except ValidationError as error:
        field, message = next(iter(refusals(error).items()))
        raise InvalidSettingError(_refusal(field, message, options)) from None
    except EnvFileError as error:
        raise InvalidSettingError(f"{ENV_FILE}: {error}") from None


def refusals(error: ValidationError) -> dict[str, str]:
    """Return what is wrong with each field; what is wrong with several fields together has an empty name.

    The texts hold no value. They name the variables that the user has set.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return {
        "".join(map(str, detail["loc"][:1])): MISSING
        if detail["type"] == "missing"
        else with_variables(detail["msg"].removeprefix("Value error, "))
        for detail in details
    }


def _refusal(field: str, message: str, options: Mapping[str, Any]) -> str:
    """Return one line that begins with the name that the user gave the setting."""
    if message == MISSING:
        return f"{field.upper()}: {message}{hint_at_unread_file(field)}"
    if field in options:
        return f"--{field.replace('_', '-')}: {message}"
    return f"{find_variables([field]).get(field, field.upper())}: {message}" if field else message
