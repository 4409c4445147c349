"""The pixwire server."""
