"""What the browser's function is about: the wall's rules, batches, checkpoints; no SDK."""
