"""The consumer that people write first: one upsert per message, in order of arrival."""

import asyncio
import json
import sys
from datetime import datetime
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer

_UPSERT = """
INSERT INTO pattern_quality_metrics
    (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (pattern_id) DO UPDATE SET
    event_id = EXCLUDED.event_id, quality_score = EXCLUDED.quality_score, confidence = EXCLUDED.confidence,
    measurement_timestamp = EXCLUDED.measurement_timestamp, version = EXCLUDED.version,
    metadata = EXCLUDED.metadata, updated_at = now()
"""


async def _consume(bootstrap_servers: str, topic: str, group: str, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, group_id=group, auto_offset_reset="earliest"
    )
    async with consumer:
        async for message in consumer:
            event = json.loads(message.value)
            await connection.execute(
                _UPSERT,
                UUID(event["pattern_id"]),
                UUID(event["event_id"]),
                event["quality_score"],
                event["confidence"],
                datetime.fromisoformat(event["measurement_timestamp"]),
                event["version"],
                json.dumps(event["metadata"]),
            )


if __name__ == "__main__":
    asyncio.run(_consume(*sys.argv[1:]))
