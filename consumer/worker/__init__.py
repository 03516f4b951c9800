"""The worker: one session with Kafka after another, until it is stopped."""
