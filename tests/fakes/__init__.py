"""Stand-ins that speak the real protocols or fulfil the ports."""
