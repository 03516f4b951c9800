"""An agent that publishes one score without a package of this project. First: pip install confluent-kafka."""

import json
import os
import unicodedata
import uuid
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Message, Producer

PATTERNS = uuid.UUID("3f0f6f0a-7a55-5b0e-8a3c-51f9d7c0a2b4")
"""A name gets the same id in every language: version 5 of this namespace, from the name in form NFC."""

failures: list[str] = []


def delivered(error: object, _: Message) -> None:
    """Note a record that Kafka has refused, or not acknowledged in time: only this function learns of it."""
    if error is not None:
        failures.append(f"event {event['event_id']} was not acknowledged, publish it again: {error}")


name = "shop.cart:total"
pattern_id = str(uuid.uuid5(PATTERNS, unicodedata.normalize("NFC", name)))
event = {
    "event_id": str(uuid.uuid4()),  # once per measurement: a retry has to repeat it
    "pattern_id": pattern_id,
    "quality_score": 0.82,
    "confidence": 0.9,
    "measurement_timestamp": datetime.now(UTC).isoformat(),  # aware, so that it has an offset
    "version": "1.0.0",
    "metadata": {"name": name},
}
producer = Producer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",  # as Kafka's own client: one pattern, one partition
        "delivery.timeout.ms": 30_000,
        "allow.auto.create.topics": False,  # a misspelled topic is an error
    }
)
producer.produce(
    os.environ.get("KAFKA_TOPIC", "pattern-scored.v1"),
    key=pattern_id,
    value=json.dumps(event, allow_nan=False),
    headers={"content-type": "application/json"},
    on_delivery=delivered,
)
producer.flush()  # without it the program ends before the record is sent
if failures:
    raise KafkaException("; ".join(failures))
