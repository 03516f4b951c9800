"""The durable outbox: events stay in a local file until Kafka has acknowledged them.

It knows no Kafka client and no model, so that a shell hook that stores one event starts quickly.
"""
