"""The browser pool's Lambda handlers."""
