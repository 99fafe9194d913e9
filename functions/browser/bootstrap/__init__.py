"""Which adapters the browser pool's functions work with."""
