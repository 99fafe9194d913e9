"""What automations tell of themselves, whichever service runs them."""
