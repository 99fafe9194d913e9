"""What the message service is about: models, ports, use cases; no SDK, no web framework."""
