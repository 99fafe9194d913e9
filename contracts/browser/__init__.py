"""The browser pool's contract."""
