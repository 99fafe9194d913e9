"""The message service's ports on AWS."""
