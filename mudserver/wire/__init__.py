"""Pure codecs: from events to bytes and back, for NATS and for each kind of client. No I/O."""
