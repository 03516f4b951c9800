"""OAUTHBEARER: gets tokens from the operator's own code, named by KAFKA_SASL_OAUTH_TOKEN_PROVIDER."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError
from typing_extensions import override

from pattern_metrics.schemas.settings.variables import with_variables

SETTING: Final = "KAFKA_SASL_OAUTH_TOKEN_PROVIDER"


class TokenProviderError(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The operator's code returned no token. The message has the error's class and none of its text."""

    def __init__(self, message: str) -> None:
        super().__init__(with_variables(message))


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Wraps the operator's provider, whose errors may hold secrets and must not end the process."""

    def __init__(self, provider: AbstractTokenProvider) -> None:
        self._provider = provider

    @override
    async def token(self) -> str:
        """Return the token for one login.

        Raises:
            TokenProviderError: the provider raised an error, or did not return a string.
        """
        try:
            token = await self._provider.token()
        except Exception as error:  # noqa: BLE001 - it is not our code
            raise TokenProviderError(f"{SETTING} raised {type(error).__name__}") from None
        if not isinstance(token, str):
            raise TokenProviderError(f"{SETTING} gave a {type(token).__name__}, which is not a token")
        return token

    @override
    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions that go with the token.

        Raises:
            TokenProviderError: the provider raised an error.
        """
        try:
            extensions: dict[str, str] = self._provider.extensions()
        except Exception as error:  # noqa: BLE001 - it is not our code
            raise TokenProviderError(f"{SETTING} raised {type(error).__name__}") from None
        return extensions


def find_factory(path: str) -> Callable[[], Any]:
    """Import the factory that `module:factory` names.

    Raises:
        ValueError: it cannot be imported. The message holds only the error's class.
    """
    module, _, name = path.partition(":")
    try:
        factory: Callable[[], Any] = getattr(import_module(module), name)
    except Exception as error:  # noqa: BLE001 - importing runs the operator's code
        raise ValueError(f"{SETTING} cannot be imported ({type(error).__name__})") from None
    return factory


@cache
def token_provider(path: str) -> TokenProvider:
    """Return the process's one provider, which may keep a token for the next login.

    Raises:
        TokenProviderError: the factory failed.
    """
    try:
        return TokenProvider(find_factory(path)())
    except Exception as error:  # noqa: BLE001 - it is not our code
        raise TokenProviderError(f"{SETTING} raised {type(error).__name__}") from None
