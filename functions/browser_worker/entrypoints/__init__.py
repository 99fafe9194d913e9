"""Lambda handlers: thin."""
