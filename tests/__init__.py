"""Tests, by what they need: nothing, moto, a synthesized template, or the local cloud."""
