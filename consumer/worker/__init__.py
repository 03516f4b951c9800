"""The worker: one Kafka session after another, until it is stopped."""
