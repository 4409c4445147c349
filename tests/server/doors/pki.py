"""Certificates for tests: an authority, a server's certificate for localhost, clients' certificates."""

import ssl
from datetime import datetime
from pathlib import Path

import trustme

from pixwire_server.doors.tls import ALPN, TlsFiles, server_context


class Pki:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        """Nobody trusts it."""
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        server = self.authority.issue_cert("localhost", "127.0.0.1")
        server.private_key_pem.write_to_path(self.key)
        for pem in server.cert_chain_pems:
            pem.write_to_path(self.certificate, append=True)

    def files(self, *, client_ca: bool = False) -> TlsFiles:
        return TlsFiles(self.certificate, self.key, self.ca if client_ca else None)

    def server(self, *, client_ca: bool = False, needed: bool = True) -> ssl.SSLContext:
        return server_context(self.files(client_ca=client_ca), certificates_needed=needed)

    def client(
        self,
        *names: str,
        common_name: str | None = None,
        alpn: tuple[str, ...] = (ALPN,),
        authority: trustme.CA | None = None,
        not_after: datetime | None = None,
    ) -> ssl.SSLContext:
        """A client's context; with `names` or `common_name` it has a certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if names or common_name:
            issuer = authority or self.authority
            issuer.issue_cert(*names, common_name=common_name, not_after=not_after).configure_cert(context)
        return context
