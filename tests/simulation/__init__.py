"""Days of play from a seed: the real server, its faults included, and an oracle that knows what it promised."""
