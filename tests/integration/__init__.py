"""Tests of the whole program from outside: its own process, a real nats-server, real sockets, the real clock."""
