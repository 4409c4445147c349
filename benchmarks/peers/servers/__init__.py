"""The peers: each as its documentation would have it built, in its best sensible configuration. `--port` is theirs all.

POST at `PATH` with a request as JSON; the answer is the PNG file and not base64, where one is free to choose.
"""

BATCH = 4
"""Images of one batch where batches are made: on one core of a CPU more of them gain nothing."""
WAIT_S = 0.01
"""How long a batch waits for more of them."""
LONGEST_S = 300.0
"""Limit of a request. The peers' own (mosec 3 s, LitServe 30 s) would refuse what is late; here all are served."""
PATH = "/inference"
"""mosec keeps `/` for itself."""
