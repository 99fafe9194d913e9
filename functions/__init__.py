"""The services, each in its own package."""
