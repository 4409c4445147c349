"""An image, whatever happens on the way: what to repeat, what to wait for, and what to give up at once."""

import os
import sys
import time
from typing import Any

import pixwire
from pixwire.arguments import new_job_id

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
TRIES = 8


def patient(client: pixwire.Client, prompt: str, tries: int = TRIES, **arguments: Any) -> pixwire.Image:
    """`client.generate`, tried again where that makes sense.

    All tries have one job id. The server knows it, so a second try attaches to the job of the first: there are never
    two jobs, and no image is computed twice.
    """
    job_id = new_job_id()
    for left in reversed(range(tries)):
        try:
            image: pixwire.Image = client.generate(prompt, job_id=job_id, **arguments)
            return image
        except pixwire.CapacityError as error:  # full, paused, about to stop: nothing was done
            if not left:
                raise
            time.sleep((error.retry_after_ms or 1000) / 1000)
        except (pixwire.ConnectionLost, pixwire.RequestTimeout):  # the job may be going on: ask for it again
            if not left:
                raise
        except pixwire.JobFailed as error:  # it ran and failed; a job that has ended stays so: take a new id
            if not left or error.status.error is None or error.status.error.retry == "no":
                raise
            job_id = new_job_id()
    raise AssertionError("not reached: the last try returns or raises")


def main() -> int:
    try:
        with pixwire.Client(URL, patience=60.0) as client:
            patient(client, sys.argv[1] if len(sys.argv) > 1 else "a red circle", seed=7).save("patient.png")
            patient(client, "a green star", steps=500)
    except pixwire.InvalidArgument as error:  # ours to mend: no try will help
        print(f"{error.field} was {error.value}, allowed: {error.allowed}", file=sys.stderr)
        return 2
    except pixwire.PixwireError as error:  # everything else this library raises
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
