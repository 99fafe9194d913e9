"""The browser pool: stateful browsing on functions that scale to zero."""
