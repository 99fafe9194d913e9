"""The front door: each service at its port, in front of the deployed APIs."""
