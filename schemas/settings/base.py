"""The base class of all settings: it reads them from the environment."""

from typing import Literal, get_args, get_origin

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings, each read from the variable that has its name in upper case."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

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
