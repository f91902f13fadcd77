"""A MUD server: text worlds over WebSockets, events over NATS, one Trio process."""

__version__ = "0.1.0"
