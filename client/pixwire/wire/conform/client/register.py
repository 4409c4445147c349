"""The register of the scenarios for clients; the modules `cNN_*` fill it when they are imported."""

from ..cases import Register

CLIENT = Register()
case = CLIENT.case
