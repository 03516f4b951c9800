"""Static membership (KIP-345): finds out whether another worker has taken this worker's name.

The broker gives a name to the member that joined last, and refuses the member before it with the error
FENCED_INSTANCE_ID. aiokafka 0.14 sends no name with its heartbeats. The refused member therefore gets an
"unknown member id" error, joins again at once, and takes the name back.
"""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import BrokerResponseError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Int16, Int32, Schema, String
from typing_extensions import override

from pattern_metrics.consumer.faults.diagnosis import DuplicateInstanceError
from pattern_metrics.consumer.kafka.broker import ask
from pattern_metrics.consumer.settings import WorkerSettings

_FENCED_INSTANCE_ID: Final = 82
_GROUP: Final = 0


class _HeartbeatResponse(Response):
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequest(RequestStruct):
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _NamedHeartbeat(Request[_HeartbeatRequest]):
    """A heartbeat with the member's name, and with an invalid generation."""

    API_KEY = 12

    def __init__(self, group: str, member_id: str, name: str) -> None:
        self._arguments = (group, -1, member_id, name)

    @override
    def build(self, request_struct_class: type[_HeartbeatRequest]) -> _HeartbeatRequest:
        return request_struct_class(*self._arguments)


def member_id_of(consumer: AIOKafkaConsumer) -> str:
    """Return the id that the group has given to a consumer; empty if it has not joined."""
    coordinator = consumer._coordinator  # noqa: SLF001 - it offers no other way
    return "" if coordinator is None else str(coordinator.member_id)


async def require_own_name(settings: WorkerSettings, member_id: str = "") -> None:
    """Require that no other member of the group has the name of KAFKA_GROUP_INSTANCE_ID.

    Args:
        settings: the worker's settings.
        member_id: the id of the worker's own member; empty while it is not a member.

    Raises:
        DuplicateInstanceError: another member has the name.
        KafkaError: the coordinator is not available; see `ask`.
        OSError: see `ask`.
    """
    name = settings.kafka_group_instance_id
    if name is None:
        return
    found = await ask(settings, FindCoordinatorRequest(settings.kafka_group_id, _GROUP))
    _require_answer(found.error_code)
    request = _NamedHeartbeat(settings.kafka_group_id, member_id, name)
    try:
        beat = await ask(settings, request, [(found.host, found.port)])
    except NotImplementedError:
        return  # a broker that is too old for names in heartbeats
    if beat.error_code == _FENCED_INSTANCE_ID:
        raise DuplicateInstanceError(name)
    _require_answer(beat.error_code)


def _require_answer(code: int) -> None:
    error: type[BrokerResponseError] = for_code(code)
    if error is not NoError and error.retriable:
        raise error


def leave_the_first_generation(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer that is about to stop leave its group also in generation 0.

    aiokafka 0.14 takes generation 0 for none, but the embedded broker counts from 0. Without this, the group
    waits for the member until its session expires.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 - it offers no other way
    if coordinator is not None and coordinator.generation == 0:
        coordinator.generation = 1  # only the member's id is sent


async def stop_contending(consumer: AIOKafkaConsumer) -> None:
    """Keep a consumer from joining its group again, also while it stops."""
    task = consumer._coordinator._coordination_task  # noqa: SLF001 - it offers no other way
    task.cancel()
    await asyncio.wait({task})
