// An agent in TypeScript that publishes one score. Run it: npm install && npm start
import { randomUUID } from "node:crypto";
import { compatibilityPartitioner, ProduceAcks, Producer, stringSerializers } from "@platformatic/kafka";

interface PatternScored {
  event_id: string;
  pattern_id: string;
  quality_score: number;
  confidence: number;
  measurement_timestamp: string;
  version: string;
  metadata: Record<string, unknown>;
}

const event: PatternScored = {
  event_id: randomUUID(), // once per measurement: a retry has to repeat it
  pattern_id: "daf768be-74bb-5c4d-bc3d-891bca5732a8", // of the pattern, the same each time
  quality_score: 0.82,
  confidence: 0.9,
  measurement_timestamp: new Date().toISOString(), // in UTC, with its Z
  version: "1.0.0",
  metadata: { name: "shop.cart:total" },
};

const producer = new Producer({
  clientId: "agent",
  bootstrapBrokers: (process.env.KAFKA_BOOTSTRAP_SERVERS ?? "localhost:9092").split(","),
  serializers: stringSerializers,
  autocreateTopics: false, // a misspelled topic is an error
  partitioner: compatibilityPartitioner, // as Kafka's own client: one pattern, one partition
  retries: 30, // each after a second: a broker may need some to start again
  strict: true,
});
try {
  await producer.send({
    acks: ProduceAcks.ALL,
    messages: [
      {
        topic: process.env.KAFKA_TOPIC ?? "pattern-scored.v1",
        key: event.pattern_id,
        value: JSON.stringify(event),
        headers: { "content-type": "application/json" },
      },
    ],
  });
} catch (error) {
  console.error(`event ${event.event_id} was not acknowledged, publish it again`);
  throw error;
} finally {
  await producer.close();
}
