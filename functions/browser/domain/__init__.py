"""What the browser pool is about: models, ports, use cases; no SDK, no web framework."""
