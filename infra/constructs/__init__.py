"""One construct per concern; each holds the defaults that every service gets."""
