"""The browser's own function: a Chromium behind an egress wall, driven by batches of steps."""
