"""A process that multiplies matrices beside a server, as niced as pixwire's engine is by default."""

from benchmarks.transport.servers.common import compute, options, ready, stay
from pixwire_server.config import describe_fields

if __name__ == "__main__":
    options(__doc__)
    stay(int(describe_fields()["niceness"].default))
    ready("nowhere")
    compute()
