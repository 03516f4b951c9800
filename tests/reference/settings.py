"""The page of settings, from the descriptions of the settings' fields."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic_settings import BaseSettings

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
from tests.reference.text import page, paragraphs, wrapped

_GROUPS: Final[dict[str, type[BaseSettings]]] = {
    "Kafka": KafkaSettings,
    "The outbox": OutboxSettings,
    "The event": EnvelopeSettings,
    "Clocks": ClockSettings,
    "PostgreSQL": DatabaseSettings,
    "The worker": WorkerSettings,
    "HTTP": HttpSettings,
    "The read API": ApiSettings,
    "The gateway": GatewaySettings,
    "The MCP server": McpSettings,
    "The log": LogSettings,
}

_TYPES: Final = {"boolean": "`true` or `false`", "integer": "an integer", "string": "a text"}

_INTRODUCTION: Final = """
A setting such as `KAFKA_TOPIC` is the first of these variables that is set and not empty:
`PATTERN_METRICS_KAFKA_TOPIC` in the environment, `KAFKA_TOPIC` in the environment,
`PATTERN_METRICS_KAFKA_TOPIC` in the file, `KAFKA_TOPIC` in the file. The file is the one of `--env-file FILE`
or `PATTERN_METRICS_ENV_FILE`.

An option of a command, such as `--database-url`, wins over all of them. No other file is read, also no `.env`
in the working directory. The file has lines of the form `NAME=VALUE`. It is read once, when the command
starts. Tracing has OpenTelemetry's own variables, which are read from the environment alone.

A setting that is missing or wrong ends the command with exit
code 2 and one line that names the variable.
"""


def settings_page() -> str:
    """Return each setting with its default, its values and its meaning."""
    blocks = [*paragraphs(_INTRODUCTION)]
    for title, group in _GROUPS.items():
        blocks += [f"## {title}", *_settings(group)]
    return page("Settings", "consumer/settings.py and schemas/settings", blocks)


def _settings(group: type[BaseSettings]) -> Iterator[str]:
    schema = group.model_json_schema()
    for name in group.__annotations__:
        if name in schema["properties"]:
            setting = schema["properties"][name]
            yield f"### `{name.upper()}`"
            yield wrapped(
                f"{_default(setting, is_required=name in schema.get('required', ()))}; {_values(setting)}."
            )
            yield from paragraphs(setting["description"])


def _default(setting: dict[str, Any], *, is_required: bool) -> str:
    if is_required:
        return "Required"
    default = setting.get("default")
    if default is None:
        return "No default"
    return f"Default `{str(default).lower() if isinstance(default, bool) else default}`"


def _values(setting: dict[str, Any]) -> str:
    [value] = [one for one in setting.get("anyOf", [setting]) if one.get("type") != "null"]
    if "enum" in value:
        *most, last = (f"`{word}`" for word in value["enum"])
        return f"{', '.join(most)} or {last}"
    if value.get("format") in {"file-path", "path"}:
        return "the path of a file"
    text = _TYPES[value["type"]]
    if "minimum" in value:
        text += (
            f" from {value['minimum']} to {value['maximum']}"
            if "maximum" in value
            else f" of at least {value['minimum']}"
        )
    return text
