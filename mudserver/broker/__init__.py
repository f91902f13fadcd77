"""Doors to NATS: the Broker protocol, the real thing, and its twin in memory."""
