"""What the engine costs and gains: one command each, see the modules."""
