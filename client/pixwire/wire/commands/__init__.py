"""What the commands of `pixwire wire` do, one module each; how they are called is in `wire.cli`."""
