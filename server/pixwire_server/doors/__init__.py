"""Doors turn bytes into calls on Jobs and back. They hold no job state: a connection may end at any time."""
