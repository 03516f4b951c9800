"""Kafka: clients, requests to brokers, the topic, and all code that depends on aiokafka's internals."""
