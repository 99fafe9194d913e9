"""What puts the parts together, from the environment."""
