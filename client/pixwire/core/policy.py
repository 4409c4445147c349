"""What the user of a client wants of its session."""

from pixwire_protocol.record import record

from .auth import Kind
from .calls import MAX_IMAGE_BYTES

PATIENCE = 120.0


@record
class Policy:
    """What the user wants of a session.

    mend: calls survive a lost connection, and wait while there is none; else they fail with ConnectionLost.
    patience: seconds for which a call waits for a connection before it fails, however long its own timeout is.
    connect_timeout: seconds for making one connection, handshake included.
    max_image_bytes: the largest image to make room for when the server announces it.
    identity: "none", "fixed" or "renewable": what there is to say when the server asks who we are.
    persistent: also the first connection is tried again and again; else its failure ends the session.
    probe: seconds of silence after which a server is asked by PING whether it is well; None: when SPEC 12 wants it.
    """

    mend: bool = True
    patience: float = PATIENCE
    connect_timeout: float = 10.0
    max_image_bytes: int = MAX_IMAGE_BYTES
    identity: Kind = "none"
    persistent: bool = False
    probe: float | None = None
