"""The recipe of the built-in model: from nothing to a diffusers folder, on a CPU or a GPU.

``python -m pixwire_server.builtin_model.training --help`` tells how to run it; MODEL_CARD.md tells how long it takes.
"""
