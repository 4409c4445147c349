"""A stand-in for a message broker, until pixwire joins several machines by a real one: one durable queue.

At least once: a message stays until its result is stored. It is SQLite behind a socket, in Python: its guarantees are
those of a durable queue, its speed says nothing about NATS, RabbitMQ or Kafka.
"""
