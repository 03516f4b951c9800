"""The request for the end of a leader epoch, which aiokafka 0.14 does not know (KIP-320).

It is OffsetForLeaderEpoch, version 3: the first version that needs only the right to describe the topic.
"""

from collections.abc import Mapping
from typing import Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String
from typing_extensions import override

from pattern_metrics.consumer.records.offsets import Partition

_CONSUMER: Final = -1
_ANY_EPOCH: Final = -1


class _EpochEndResponse(Response):
    API_KEY = 23
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader_epoch", Int32),
                        ("end_offset", Int64),
                    ),
                ),
            ),
        ),
    )


class _EpochEndRequest(RequestStruct):
    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = _EpochEndResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32)),
                ),
            ),
        ),
    )


class EpochEndRequest(Request[_EpochEndRequest]):
    """Asks the leader of some partitions for the end of one leader epoch in each.

    `prepare` raises NotImplementedError for a broker that does not know the version, and
    IncompatibleBrokerVersion for a broker that does not know the request.
    """

    API_KEY = 23

    def __init__(self, epochs: Mapping[Partition, int]) -> None:
        self._topics = dict[str, list[tuple[int, int, int]]]()
        for (topic, number), epoch in epochs.items():
            self._topics.setdefault(topic, []).append((number, _ANY_EPOCH, epoch))

    @override
    def build(self, request_struct_class: type[_EpochEndRequest]) -> _EpochEndRequest:
        return request_struct_class(_CONSUMER, list(self._topics.items()))
