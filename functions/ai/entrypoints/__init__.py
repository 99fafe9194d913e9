"""One module per trigger."""
