"""Kafka: clients, questions to a broker, the topic, and what must be known of aiokafka inside."""
