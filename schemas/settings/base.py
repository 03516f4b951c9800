"""The base class of all settings: it reads them from the environment."""

import os
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from pattern_metrics.schemas.settings.variables import find_variables


class Settings(BaseSettings):
    """Settings, each read from its variable: see the module `variables`.

    Raises:
        ValidationError: a setting is missing or wrong.
        EnvFileError: the file of PATTERN_METRICS_ENV_FILE cannot be used.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        texts = {name: found.text for name, found in find_variables(settings_cls.model_fields).items()}
        return init_settings, InitSettingsSource(settings_cls, texts)

    @field_validator("*", mode="before")
    @classmethod
    def _as_a_shell_reads_it(cls, value: object, field: ValidationInfo) -> object:
        """Return the word of a `Literal` in its own case, and a path with the directory that its ~ means.

        A shell replaces ~, but a file of variables, Docker and a service manager do not.
        """
        if isinstance(value, str) and field.field_name is not None:
            kinds = _kinds(cls.model_fields[field.field_name].annotation)
            for word in (word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)):
                if word.lower() == value.lower():
                    return word
            if Path in kinds:
                return os.path.expanduser(value)  # noqa: PTH111 - pathlib raises if there is no home
        return value


def _kinds(annotation: object) -> list[object]:
    """Return the types of which a value may be: each part of a union, and what an `Annotated` is about."""
    parts = [annotation, *get_args(annotation)]
    return parts + [get_args(part)[0] for part in parts if get_origin(part) is Annotated]
