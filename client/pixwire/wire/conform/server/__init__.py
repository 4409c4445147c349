"""The cases for servers, one module per section or a few: importing this package fills `register.SERVER`."""

from . import (  # noqa: F401 - imported for their cases
    s03_connection,
    s04_framing,
    s05_profile,
    s06_auth,
    s06_handshake,
    s07_flow,
    s07_streams,
    s07_uploads,
    s08_admin,
    s08_fetch,
    s08_requests,
    s08_submit,
    s09_terms,
    s10_errors,
    s11_limits,
    s13_extension,
    s14_robustness,
)
from .register import SERVER

__all__ = ["SERVER"]
