"""The client under test: `pixwire.connect` and `generate`, as the contract of `conform --client` asks. One defect on
request.

    python python_client.py [MUTANT]      one run, told by PIXWIRE_URL, PIXWIRE_OUT, PIXWIRE_JOB, PIXWIRE_PROMPT
"""

import asyncio
import os
import sys
from pathlib import Path

import pixwire

HERE = Path(__file__).resolve().parent
SECONDS = 8.0


async def work() -> None:
    out = Path(os.environ["PIXWIRE_OUT"])
    source = os.environ.get("PIXWIRE_IMAGE")
    async with pixwire.connect(os.environ["PIXWIRE_URL"], timeout=SECONDS) as client:
        image = await client.generate(
            os.environ["PIXWIRE_PROMPT"],
            job_id=os.environ["PIXWIRE_JOB"],
            image=source,
            on_progress=lambda progress: None,
            timeout=SECONDS,
        )
    out.write_bytes(image.data)


def run(mutant: str | None) -> int:
    if mutant is not None:
        sys.path.insert(0, str(HERE))
        import client_mutants

        client_mutants.apply(mutant)
    try:
        asyncio.run(work())
    except (pixwire.PixwireError, OSError) as error:
        print(f"{type(error).__name__}: {str(error)!r}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else None))
