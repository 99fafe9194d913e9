"""ProjectFlow's contract."""
