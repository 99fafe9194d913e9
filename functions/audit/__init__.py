"""The audit sink: append-only, queryable at once, provable."""
