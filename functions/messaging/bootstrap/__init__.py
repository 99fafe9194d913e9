"""The composition root: settings to dependencies. Nothing else knows ports and adapters both."""
