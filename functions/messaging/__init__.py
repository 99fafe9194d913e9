"""The message service: events that are never lost, explained from publish to last attempt."""
