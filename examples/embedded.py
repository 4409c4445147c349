"""No server to start: one of its own, for as long as the `with` lasts. Jobs and images stay in the folder `journal`."""

import pixwire

with pixwire.embedded(journal="journal") as client:
    client.generate("a green star on a white background", seed=7).save("star.png")
