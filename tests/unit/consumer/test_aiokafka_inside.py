"""The internals of aiokafka on which this project relies, and which aiokafka does not promise."""

import inspect
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, conn
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import (
    DefaultRecordBatch,
    DefaultRecordBatchBuilder,
    _DefaultRecordBatchPy,
)
from aiokafka.record.memory_records import _MemoryRecordsPy

INSIDE = [
    (fetcher, "MemoryRecords", None),
    (fetcher, "PartitionRecords", None),
    (fetcher, "FetchResult", None),
    (fetcher.FetchResult, "getall", ["self", "max_records"]),
    (fetcher.FetchResult, "check_assignment", ["self", "tp"]),
    (fetcher.FetchResult, "has_more", ["self"]),
    (fetcher.FetchResult, "_update_position", ["self"]),
    (fetcher.PartitionRecords, "_consumer_record", ["self", "tp", "record"]),
    (fetcher.PartitionRecords, "__next__", ["self"]),
    (_MemoryRecordsPy, "next_batch", ["self", "_min_slice", "_magic_offset"]),
    (_DefaultRecordBatchPy, "_maybe_uncompress", ["self"]),
    (AIOKafkaConsumer, "last_stable_offset", ["self", "partition"]),
    (AIOKafkaConsumer, "highwater", ["self", "partition"]),
    (DefaultRecordBatchBuilder, "append", ["self", "offset", "timestamp", "key", "value", "headers"]),
    (DefaultRecordBatch, "CODEC_LZ4", None),
    (GroupCoordinator, "_maybe_leave_group", ["self"]),
    (DefaultPartitioner, "__call__", ["key", "all_partitions", "available"]),
    (ProduceRequest, "__init__", ["self", "transactional_id", "required_acks", "timeout", "topics"]),
    (InitProducerIdRequest, "__init__", ["self", "transactional_id", "transaction_timeout_ms"]),
    (ClusterMetadata, "partitions_for_topic", ["self", "topic"]),
    (ClusterMetadata, "available_partitions_for_topic", ["self", "topic"]),
    (ClusterMetadata, "leader_for_partition", ["self", "partition"]),
    (AIOKafkaClient, "add_topic", ["self", "topic"]),
    (AIOKafkaClient, "send", ["self", "node_id", "request", "group"]),
    (AIOKafkaClient, "close", ["self"]),
    (AIOKafkaClient, "force_metadata_update", ["self"]),
    (AIOKafkaClient, "bootstrap", ["self"]),
    (AIOKafkaClient, "hosts", None),
    (AIOKafkaClient, "get_random_node", ["self"]),
    (AIOKafkaClient, "_metadata_update", ["self", "cluster_metadata", "topics"]),
    (AIOKafkaClient, "_get_conn", ["self", "node_id", "group", "no_hint"]),
    (AIOKafkaClient, "_get_conn_lock", None),
    (conn, "create_conn", None),
    (conn, "collect_hosts", None),
]


@pytest.mark.parametrize(("owner", "name", "parameters"), INSIDE)
def test_the_internals_that_we_rely_on_exist(owner: Any, name: str, parameters: list[str] | None) -> None:
    where = f"{getattr(owner, '__qualname__', owner.__name__)}.{name}"
    found = getattr(owner, name, None)
    assert found is not None, (
        f"aiokafka {aiokafka.__version__} has no {where}, which this project leans on: adapt it, and "
        "the version that fetched_records accepts"
    )
    if parameters is not None:
        assert list(inspect.signature(found).parameters) == parameters, (
            f"aiokafka {aiokafka.__version__} calls {where} with other arguments: adapt its use"
        )
