"""Stands in for the server when the demo is tested: quick, without torch, and able to misbehave."""
