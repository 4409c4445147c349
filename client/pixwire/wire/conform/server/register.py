"""The register of the server's cases; the modules `sNN_*` fill it when they are imported."""

from ..cases import Register

SERVER = Register()
case = SERVER.case
