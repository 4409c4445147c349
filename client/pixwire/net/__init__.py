"""Reaching a server: TLS, and what went wrong in the words of a person. For every kind of shell. SPEC 3.1."""
