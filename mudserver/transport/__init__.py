"""Doors to players: listening sockets, byte streams, the HTTP request head, WebSockets."""
