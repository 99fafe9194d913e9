"""The message service's contract."""
