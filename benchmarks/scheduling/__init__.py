"""Scheduling policies side by side: arrival traces replayed against recorded cost curves, in simulated time."""
