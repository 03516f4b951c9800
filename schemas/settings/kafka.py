"""The `KAFKA_*` settings for reaching the topic, and the client options made from them."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from pattern_metrics.schemas.hosts import resolvable_host, split_host
from pattern_metrics.schemas.settings.base import Settings
from pattern_metrics.schemas.settings.variables import with_variables

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]

SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


class SettingFileError(OSError):
    """A file that a setting names cannot be read or has the wrong content. The message names its variable."""

    def __init__(self, message: str) -> None:
        super().__init__(with_variables(message))


def _require_file(path: Path) -> Path:
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not is_file:
        raise ValueError("is not a file")
    return path


SettingFile = Annotated[Path, AfterValidator(_require_file)]
"""A file that has to be there when the settings are read."""

_COMMA: Final = ", "
_TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _topics(text: str) -> str:
    """Return a list of topics with each topic once and in one spelling, so that one topic is its name."""
    topics = dict.fromkeys(re.split(r"\s*,\s*", text))
    if not all(map(_TOPIC_NAME.fullmatch, topics)):
        raise ValueError("is not a list of topics: each is 1 to 249 letters, digits, dots, _ or -")
    return _COMMA.join(topics)


def _why(error: OSError, content: str) -> str:
    """Return what is wrong with a file: its content, or the reason why it cannot be read."""
    return content if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"


def refuse_passphrase(name: str, remedy: str) -> Callable[[], str]:
    """Return a callback for `ssl` that refuses a key's passphrase instead of asking on the terminal.

    Raises:
        SettingFileError: raised by the callback.
    """

    def refuse() -> str:
        raise SettingFileError(f"{name} is encrypted: {remedy}")

    return refuse


_NO_BROKERS: Final = "is not a list of host:port"
_LOGIN_AMONG_BROKERS: Final = (
    f"{_NO_BROKERS}: the user and the password belong in KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
)


class KafkaSettings(Settings):
    """The brokers and the topic."""

    kafka_bootstrap_servers: Annotated[str, Field(min_length=1)] = Field(
        default="localhost:9092",
        description="The brokers to connect to first: HOST or HOST:PORT (default port 9092), "
        "comma-separated. Each broker advertises the addresses of all others.",
    )
    kafka_topic: Annotated[str, AfterValidator(_topics)] = Field(
        default="pattern-scored.v1",
        description="The topic of the events. A worker reads several topics, comma-separated, into one "
        "table; a publisher needs one topic.",
    )
    kafka_security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT",
        description="The protocol of the connection to the brokers: PLAINTEXT, SSL, SASL_PLAINTEXT or "
        "SASL_SSL, in any case. A protocol with SSL encrypts by TLS; one with SASL logs in and needs "
        "KAFKA_SASL_MECHANISM.",
    )
    kafka_sasl_mechanism: SaslMechanism | None = Field(
        default=None,
        description="The way to log in, with a SASL protocol: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or "
        "OAUTHBEARER, in any case.",
    )
    kafka_sasl_username: str | None = Field(
        default=None, description="The user to log in as. Required with PLAIN and SCRAM."
    )
    kafka_sasl_password: SecretStr | None = Field(
        default=None,
        description="The password of this user. Required with PLAIN and SCRAM, unless "
        "KAFKA_SASL_PASSWORD_FILE is set. It is never printed.",
    )
    kafka_sasl_password_file: SettingFile | None = Field(
        default=None,
        description="A file that holds the password, such as a mounted secret; it replaces "
        "KAFKA_SASL_PASSWORD. Line breaks at its end are ignored. It is read again for each new Kafka "
        "client, so that the password can be rotated without a restart.",
    )
    kafka_sasl_oauth_token_provider: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        default=None,
        description="Your own source of tokens, as module:factory on the Python path. Required with "
        "OAUTHBEARER. The factory is called once per process and returns an "
        "aiokafka.abc.AbstractTokenProvider; each login awaits its token() and needs a valid token.",
    )
    kafka_ssl_cafile: SettingFile | None = Field(
        default=None,
        description="A PEM file with the CA certificates that the brokers' certificates are verified by. "
        "Without it, the system's CA certificates are used. It is read again for each new Kafka client.",
    )
    kafka_ssl_certfile: SettingFile | None = Field(
        default=None,
        description="A PEM file with the client's certificate, for mutual TLS. It is read again for each "
        "new Kafka client.",
    )
    kafka_ssl_keyfile: SettingFile | None = Field(
        default=None,
        description="A PEM file with the key of the client's certificate, without a passphrase. Without it, "
        "the key is read from KAFKA_SSL_CERTFILE.",
    )
    kafka_enable_idempotence: bool = Field(
        default=True,
        description="Publish with an idempotent producer, so that a retry of the client writes no second "
        "record. Set it to false only for a broker without InitProducerId, such as the embedded broker.",
    )

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _require_brokers(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(_LOGIN_AMONG_BROKERS)
        for broker in value.split(","):
            try:
                host, port = split_host(broker.strip())
                resolvable_host(host)
            except ValueError:
                raise ValueError(_NO_BROKERS) from None
            if port is None and broker.strip().endswith(":"):
                raise ValueError(_NO_BROKERS)
        return value

    @model_validator(mode="after")
    def _require_what_the_protocol_needs(self) -> Self:
        try:
            if self.kafka_security_protocol.endswith("SSL"):
                self._ssl_context()
            if self.kafka_security_protocol.startswith("SASL"):
                self._require_a_login()
        except SettingFileError as error:
            raise ValueError(str(error)) from None
        return self

    def _require_a_login(self) -> None:
        needed = ["kafka_sasl_mechanism"]
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            needed += ["kafka_sasl_oauth_token_provider"]
        else:
            needed += ["kafka_sasl_username"]
            needed += ["kafka_sasl_password"] if self.kafka_sasl_password_file is None else []
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{name.upper()} is needed with {self.kafka_security_protocol}")
        if self.kafka_sasl_mechanism == "OAUTHBEARER" and self.kafka_sasl_oauth_token_provider is not None:
            from pattern_metrics.schemas.settings import token_provider

            token_provider.find_factory(self.kafka_sasl_oauth_token_provider)
        else:
            self._password()

    @property
    def kafka_topics(self) -> tuple[str, ...]:
        """The topics of KAFKA_TOPIC."""
        return tuple(self.kafka_topic.split(_COMMA))

    def each_topic(self) -> list[Self]:
        """Return the settings of each topic separately, for code that handles one topic at a time."""
        return [self.model_copy(update={"kafka_topic": topic}) for topic in self.kafka_topics]

    def client_options(self) -> dict[str, Any]:
        """Return the options that every aiokafka client shares.

        Files are read at each call, because they may have been rotated.

        Raises:
            SettingFileError: a file of certificates, a key or a password cannot be read.
            TokenProviderError: the factory of KAFKA_SASL_OAUTH_TOKEN_PROVIDER failed.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.kafka_security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options |= self._login()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        except OSError as error:
            why = _why(error, "holds no certificate in PEM form")
            raise SettingFileError(f"KAFKA_SSL_CAFILE {why}") from None
        if self.kafka_ssl_certfile is not None:
            name = "KAFKA_SSL_KEYFILE" if self.kafka_ssl_keyfile else "KAFKA_SSL_CERTFILE"
            refuse = refuse_passphrase(f"{name}: the key", "decrypt it with openssl pkey")
            try:
                context.load_cert_chain(self.kafka_ssl_certfile, self.kafka_ssl_keyfile, refuse)
            except SettingFileError:
                raise
            except OSError as error:
                why = _why(error, "hold no certificate with its key in PEM form")
                raise SettingFileError(f"KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE {why}") from None
        return context

    def _login(self) -> dict[str, Any]:
        if self.kafka_sasl_oauth_token_provider is not None and self.kafka_sasl_mechanism == "OAUTHBEARER":
            from pattern_metrics.schemas.settings import token_provider

            provider = token_provider.token_provider(self.kafka_sasl_oauth_token_provider)
            return {"sasl_oauth_token_provider": provider}
        return {"sasl_plain_username": self.kafka_sasl_username, "sasl_plain_password": self._password()}

    def _password(self) -> str:
        if self.kafka_sasl_password_file is not None:
            try:
                return self.kafka_sasl_password_file.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                raise SettingFileError("KAFKA_SASL_PASSWORD_FILE cannot be read as UTF-8") from None
        return self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else ""
