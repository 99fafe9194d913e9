"""What every service's client is made of: errors, signing, transport, event streams."""
