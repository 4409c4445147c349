"""The version of the distribution `pixwire`."""

__version__ = "0.1.0"
