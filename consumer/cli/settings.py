"""The command `settings`: shows each setting with its value and its source."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import typer

from pattern_metrics.consumer.cli.common import DatabaseUrlOption, JsonOption
from pattern_metrics.consumer.cli.output import fail, printable, tell

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from pattern_metrics.schemas.settings.base import Settings

_SECRET: Final = "***"  # noqa: S105 - shown in place of a secret
_NO_VALUE: Final = "-"
_DEFAULT: Final = "default"
_NOT_SET: Final = "not set"

settings_app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting for a person, without any secret.

    Attributes:
        name: the setting's name.
        value: the value as a variable would hold it; None if there is none.
        source: an option, a variable, a variable in a file, `default` or `not set`.
        error: what is wrong with the value; None if the value is right.
    """

    name: str
    value: str | None
    source: str
    error: str | None


@settings_app.command("settings")
def settings_command(database_url: DatabaseUrlOption = None, as_json: JsonOption = False) -> None:
    """Show each setting, its value and its source, without any secret.

    The source is an option, a variable of the environment, a variable in a file, `default` or `not set`. An
    invalid value is shown with its error, and the exit code is then 2. No server is asked.
    """
    from pattern_metrics.schemas.settings.variables import ENV_FILE, EnvFileError

    try:
        shown, errors = show_settings({} if database_url is None else {"database_url": database_url})
    except EnvFileError as error:
        fail(f"error: {ENV_FILE}: {error}", 2)
    if as_json:
        typer.echo(
            json.dumps({"settings": [dataclasses.asdict(setting) for setting in shown], "errors": errors})
        )
    else:
        for line in _lines(shown):
            typer.echo(line)
        for message in errors:
            tell(f"error: {message}")
        _tell_unread_file(shown)
    if errors or any(setting.error for setting in shown):
        raise typer.Exit(2)


def show_settings(options: Mapping[str, Any]) -> tuple[list[Shown], list[str]]:
    """Return each setting, and what is wrong with several settings together.

    Args:
        options: values from the command line, by field.

    Raises:
        EnvFileError: the file of PATTERN_METRICS_ENV_FILE cannot be used.
    """
    from pydantic.fields import FieldInfo

    from pattern_metrics.consumer.settings import (
        ApiSettings,
        DatabaseSettings,
        EnvelopeSettings,
        GatewaySettings,
        HttpSettings,
        LogSettings,
        McpSettings,
        WorkerSettings,
    )
    from pattern_metrics.schemas.settings.clock import ClockSettings
    from pattern_metrics.schemas.settings.kafka import KafkaSettings
    from pattern_metrics.schemas.settings.outbox import OutboxSettings
    from pattern_metrics.schemas.settings.variables import find_variables

    # Load each class separately: an error of one class would hide the errors of the settings of another.
    classes: tuple[type[Settings], ...] = (
        *(KafkaSettings, OutboxSettings, EnvelopeSettings, DatabaseSettings, ClockSettings),
        *(WorkerSettings, HttpSettings, ApiSettings, GatewaySettings, McpSettings, LogSettings),
    )
    fields, wrong, errors = dict[str, FieldInfo](), dict[str, str](), list[str]()
    for settings_class in classes:
        fields |= settings_class.model_fields
        wrong |= _validate(settings_class, options)
        errors += [message] if (message := wrong.pop("", None)) and message not in errors else []
    found = find_variables(fields)
    shown = list[Shown]()
    for name, field in fields.items():
        if name in options:
            text, source = options[name], f"--{name.replace('_', '-')}"
        elif name in found:
            text, source = found[name].text, str(found[name])
        else:
            text, source = _text(field), _NOT_SET if field.is_required() else _DEFAULT
        value = _without_secret(name, field, text, is_valid=name not in wrong)
        shown.append(Shown(name.upper(), value, source, wrong.get(name)))
    return shown, errors


def _tell_unread_file(shown: list[Shown]) -> None:
    from pattern_metrics.schemas.settings.variables import hint_at_unread_file

    unset = [setting.name for setting in shown if setting.source in {_DEFAULT, _NOT_SET}]
    hint = next(filter(None, map(hint_at_unread_file, unset)), "")
    if hint:
        tell(hint.removeprefix("; "))


def _validate(settings_class: "type[Settings]", options: Mapping[str, Any]) -> dict[str, str]:
    """Return the `refusals` of a class, except for missing settings, which only some commands need."""
    from pydantic import ValidationError

    from pattern_metrics.consumer.settings import MISSING, refusals

    try:
        settings_class(
            **{name: text for name, text in options.items() if name in settings_class.model_fields}
        )
    except ValidationError as error:
        return {field: message for field, message in refusals(error).items() if message != MISSING}
    return {}


def _text(field: "FieldInfo") -> str | None:
    """Return a default as a variable would hold it."""
    default = None if field.is_required() else field.default
    return None if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _without_secret(name: str, field: "FieldInfo", text: str | None, *, is_valid: bool) -> str | None:
    """Return a value without any secret; a wrong value of a login may be a password in the wrong place."""
    from pydantic import SecretStr

    from pattern_metrics.schemas.settings.database_url import parse_database_url

    if text is None:
        return None
    if name == "database_url" and is_valid:
        return parse_database_url(text).without_secrets()
    is_secret = SecretStr in {field.annotation, *get_args(field.annotation)}
    may_be_secret = not is_valid and (name.startswith("kafka_sasl_") or "@" in text)
    return _SECRET if is_secret or may_be_secret else text


def _lines(shown: list[Shown]) -> list[str]:
    """Return the settings in columns, each with its error below it."""
    rows = [
        (setting.name, printable(setting.value) if setting.value is not None else _NO_VALUE, setting.source)
        for setting in shown
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:2]]
    return [
        f"{name:{widths[0]}}  {value:{widths[1]}}  {printable(source)}"
        + (f"\n    error: {setting.error}" if setting.error else "")
        for setting, (name, value, source) in zip(shown, rows, strict=True)
    ]
