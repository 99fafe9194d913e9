"""The browser pool's ports on AWS."""
