"""The audit sink's contract."""
