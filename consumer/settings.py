"""The environment (or a `.env` file) as typed settings. Each field's name in upper case is its variable."""

import getpass
import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsError

from pattern_metrics.consumer.database_url import parse_database_url
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

_NO_OPTIONS: Final[Mapping[str, Any]] = {}


class InvalidSettingError(Exception):
    """A setting is missing or wrong; the message is one line that names it and holds no value."""


class LogSettings(BaseSettings):
    """What is logged, and how; always to standard error."""

    model_config = KafkaSettings.model_config

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severity that is logged."
    )
    log_format: Literal["console", "json"] | None = Field(
        default=None, description="console or json; without it, console on a terminal, else json."
    )

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _take_any_case(cls, value: object, field: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if field.field_name == "log_level" else value.lower()


class DatabaseSettings(BaseSettings):
    """Where the table is."""

    model_config = KafkaSettings.model_config

    database_url: SecretStr = Field(
        description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with any libpq parameter asyncpg knows; "
        "@ / ? # % in user and password as %40 %2F %3F %23 %25; "
        "several hosts with target_session_attrs=primary follow a failover."
    )
    history_enabled: bool = Field(
        default=False, description="Whether every measurement is kept as well, in pattern_quality_history."
    )

    @field_validator("database_url", mode="before")
    @classmethod
    def _require_usable(cls, value: object) -> object:
        """Before pydantic's own check, whose message for bytes that are not UTF-8 has no remedy."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and not parse_database_url(text).names_user:
            _require_default_user()
        return value


def _require_default_user() -> None:
    try:
        os.environ.get("PGUSER") or getpass.getuser()
    except (KeyError, OSError):
        raise ValueError(
            "names no USER, and this process has no name: write postgresql://USER@HOST/DATABASE"
        ) from None


class EnvelopeSettings(BaseSettings):
    """Where in a record's value the event lies."""

    model_config = KafkaSettings.model_config

    kafka_envelope_field: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+){0,9}$")] | None = Field(
        default=None,
        description="The field of an envelope of your own that holds the event, such as payload, or a dotted "
        "path; without it, the record's value is the event.",
    )

    @property
    def envelope(self) -> tuple[str, ...]:
        """The names on the way to the event; none where the value is the event."""
        return tuple(self.kafka_envelope_field.split(".")) if self.kafka_envelope_field else ()


class HttpSettings(BaseSettings):
    """Where HTTP is served."""

    model_config = KafkaSettings.model_config

    http_host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1",
        description="Where the page, /livez, /readyz and /metrics are served; 0.0.0.0 is everywhere.",
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="Their port; 0 turns HTTP off."
    )


class WorkerSettings(KafkaSettings, EnvelopeSettings, DatabaseSettings, ClockSettings, HttpSettings):
    """All that `consume` needs."""

    kafka_group_id: Annotated[str, Field(min_length=1)] = Field(
        default="pattern-metrics", description="The consumer group; its workers share the partitions."
    )
    kafka_group_instance_id: str | None = Field(
        default=None,
        description="Static membership (KIP-345): a name of this worker that outlives a restart.",
    )
    batch_max_records: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=10_000,
        description="Most records written in one transaction, which 16 MiB of values fill too.",
    )
    batch_max_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=0, description="Milliseconds to wait for a batch to fill; 0 writes at once what is there."
    )
    dead_letter_max_consecutive: Annotated[int, Field(ge=1)] = Field(
        default=10_000, description="Invalid records in a row, without one valid, at which the worker pauses."
    )
    shutdown_grace_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=25, description="Seconds a stop may take to write and commit what is in hand."
    )


class DashboardSettings(DatabaseSettings, HttpSettings):
    """All that `dashboard` needs."""


def load(settings_class: type[SettingsT], options: Mapping[str, Any] = _NO_OPTIONS) -> SettingsT:
    """Read settings from the environment.

    Args:
        settings_class: the settings to read.
        options: values from the command line, by field; they win.

    Raises:
        InvalidSettingError: names the first setting, or the option, that is missing or wrong.
    """
    try:
        return settings_class(**options)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        name = f"--{field.replace('_', '-')}" if field in options else field.upper()
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidSettingError(f"{name}: {message}" if name else message) from None
    except SettingsError as error:
        raise InvalidSettingError(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidSettingError(".env: is not UTF-8") from None
    except OSError as error:  # of a file in a folder that may not be entered
        raise InvalidSettingError(f"{error.filename}: {error.strerror}") from None
