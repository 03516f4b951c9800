"""Ask brokers side by side: a broker that accepts connections and never answers delays no client.

No client creates a topic by asking for it, whatever the broker's auto.create.topics.enable says.

aiokafka 0.14 asks the brokers one after the other, in KAFKA_BOOTSTRAP_SERVERS as well as in the cluster. Each
silent broker costs it the whole request timeout.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any, Final, NoReturn, TypeVar

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest
from typing_extensions import override

T = TypeVar("T")

HEAD_START_SECONDS: Final = 0.3
"""The time that one broker has before the next one is asked as well."""

_OPTIONS: Final = (
    "ssl_context",
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_oauth_token_provider",
)


class NoAnswerError(Exception):
    """No broker answered.

    Attributes:
        failures: the error of each broker, in the order in which they failed.
    """

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__(f"none of {len(failures)} brokers answered")
        self.failures = failures


async def first_answer(questions: Iterable[Callable[[], Awaitable[T]]]) -> T:
    """Ask one broker after the other, without waiting long for any of them, and return the first answer.

    Args:
        questions: each asks one broker. The next question begins when one has failed, or after the head
            start. The first answer cancels the questions that are still open.

    Raises:
        NoAnswerError: all have failed, with a KafkaError, an OSError or a TimeoutError.
    """
    waiting, failures = list(questions), list[Exception]()
    asked = set[asyncio.Future[T]]()
    try:
        while waiting or asked:
            if waiting:
                asked.add(asyncio.ensure_future(waiting.pop(0)()))
            timeout = HEAD_START_SECONDS if waiting else None
            done, asked = await asyncio.wait(asked, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for answered in done:
                try:
                    return answered.result()
                except (KafkaError, OSError, TimeoutError) as error:
                    failures.append(error)
    finally:
        for open_question in asked:
            open_question.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    raise NoAnswerError(failures)


def ask_side_by_side(client: AIOKafkaClient) -> None:
    """Let the client of a consumer, producer or admin client ask its brokers side by side.

    Args:
        client: a client that has not connected yet. aiokafka has no option for another class.
    """
    client.__class__ = _Client


class _Client(AIOKafkaClient):
    """A client that asks brokers side by side; see `ask_side_by_side`."""

    _answered: int | str | None = None
    _asked_at = 0.0

    @cached_property
    def _locks(self) -> defaultdict[Any, asyncio.Lock]:
        return defaultdict(asyncio.Lock)

    @property
    def _get_conn_lock(self) -> nullcontext[None]:
        return nullcontext()  # aiokafka has one lock for all brokers: a silent broker would hold it

    @override
    async def _get_conn(self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, **others: Any) -> Any:
        async with self._locks[node_id, group]:
            return await super()._get_conn(node_id, group=group, **others)

    @override
    async def bootstrap(self) -> None:
        """Bootstrap from the broker that answers first.

        Raises:
            KafkaConnectionError: no broker answers, or the login was refused. The cause says why.
        """
        if len(self.hosts) > 1:
            try:
                self._bootstrap_servers = await first_answer(
                    partial(self._knock, *host) for host in self.hosts
                )
            except NoAnswerError as error:
                raise KafkaConnectionError(f"Unable to bootstrap from {self.hosts}") from error.failures[-1]
        try:
            await super().bootstrap()
        except KafkaConnectionError as error:
            await self._raise_why(error)

    async def _raise_why(self, error: KafkaConnectionError) -> NoReturn:
        """Raise the error with its cause, which aiokafka only logs."""
        try:
            await self._knock(*self.hosts[0])
        except (KafkaError, OSError, TimeoutError) as cause:
            raise KafkaConnectionError(f"{error.args[0]}: {cause}") from cause
        raise error

    async def _knock(self, host: str, port: int, _family: object) -> str:
        options = {name: getattr(self, f"_{name}") for name in _OPTIONS}
        timeout_ms = self._request_timeout_ms
        connection = await create_conn(
            host, port, client_id=self._client_id, request_timeout_ms=timeout_ms, **options
        )
        connection.close()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @override
    async def _metadata_update(self, cluster_metadata: Any, topics: Iterable[str] | None) -> bool:
        first = ("bootstrap", ConnectionGroup.DEFAULT)  # kept until a broker has been named
        # While a partition has no leader, aiokafka's fetcher and its sender ask again at once.
        await asyncio.sleep(self._asked_at + self._retry_backoff - time.monotonic())
        self._asked_at = time.monotonic()
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        nodes += ["bootstrap"] if first in self._conns else []
        request = MetadataRequest(list(topics) if topics else None, allow_auto_topic_creation=False)
        try:
            node, metadata = await first_answer(partial(self._ask, node, request) for node in nodes)
        except NoAnswerError:
            cluster_metadata.failed_update(None)
            return False
        if not metadata.brokers:
            return False
        cluster_metadata.update_metadata(metadata)
        if connection := self._conns.pop(first, None):
            connection.close()
        self._answered = node
        return True

    async def _ask(self, node: int, request: MetadataRequest) -> tuple[Any, Any]:
        connection = await self._get_conn(node)
        if connection is None:
            raise NodeNotReadyError(node)
        return node, await connection.send(request)

    @override
    def get_random_node(self) -> Any:
        """Return the broker that answered last, not a random one. The client looks up coordinators there."""
        is_known = self.cluster.broker_metadata(self._answered) is not None
        return self._answered if is_known else super().get_random_node()
