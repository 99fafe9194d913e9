"""One stack per service, and the foundation that they share."""
