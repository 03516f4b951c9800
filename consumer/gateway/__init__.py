"""The gateway: agents without a Kafka client publish events over HTTP."""
