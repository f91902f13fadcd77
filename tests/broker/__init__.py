"""Tests of the doors to NATS: the contract that both keep, and the broker that comes along."""
