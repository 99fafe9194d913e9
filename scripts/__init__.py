"""Commands of this repository that are not part of what is deployed."""
