"""Chromium, the network, and the links to what is kept of a session."""
