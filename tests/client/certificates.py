"""Certificates of an authority that the test made up."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from pixwire_protocol.registry import ALPN


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority, and the file that says that it is one."""

    ca: trustme.CA
    cafile: Path

    @classmethod
    def new(cls, folder: Path) -> "Authority":
        ca = trustme.CA()
        path = folder / f"ca-{id(ca)}.pem"
        ca.cert_pem.write_to_path(str(path))
        return cls(ca, path)

    def server(self, *names: str, alpn: tuple[str, ...] = (ALPN,), clients: bool = False) -> ssl.SSLContext:
        """The context of a server with these names; with `clients` it wants a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names).configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if clients:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Certificate and key of a client."""
        made = self.ca.issue_cert(name)
        certfile, keyfile = folder / f"{name}.pem", folder / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(str(certfile))
        made.private_key_pem.write_to_path(str(keyfile))
        return certfile, keyfile
