"""Tasks and values that carry events to players: publish, receive, route, deliver."""
