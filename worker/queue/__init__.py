"""The queue's side of a worker: which messages come in, the beat, RabbitMQ, and a child's limits."""
