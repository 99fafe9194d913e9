"""The figures that the design promises, each printed beside its limit."""
