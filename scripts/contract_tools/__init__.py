"""What makes and guards the committed documents; no service imports it."""
