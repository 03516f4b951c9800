"""The base class of all settings: it reads them from the environment."""

from typing import Literal, get_args, get_origin

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
    def _accept_any_case(cls, value: object, field: ValidationInfo) -> object:
        """Return the word of a `Literal` for the same word in another case, and everything else as it is."""
        if isinstance(value, str) and field.field_name is not None:
            for word in _words(cls.model_fields[field.field_name].annotation):
                if word.lower() == value.lower():
                    return word
        return value


def _words(annotation: object) -> tuple[str, ...]:
    """Return the words of a `Literal`, also of one with `None` beside it."""
    kinds = (annotation, *get_args(annotation))
    return tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
