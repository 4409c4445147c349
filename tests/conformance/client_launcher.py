"""The command of the client under test: hands its run to the process that has everything imported already.

python -I -S client_launcher.py SOCKET [MUTANT]
"""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as link:
    link.connect(sys.argv[1])
    told = {name: value for name, value in os.environ.items() if name.startswith("PIXWIRE_")}
    link.sendall(json.dumps({"environ": told, "mutant": sys.argv[2] if len(sys.argv) > 2 else None}).encode() + b"\n")
    answer = b""
    while part := link.recv(65536):
        answer += part
if not answer:
    sys.exit("the client process died")
code, _, output = answer.partition(b"\n")
sys.stdout.buffer.write(output)
sys.stdout.flush()
sys.exit(int(code))
