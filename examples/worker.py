"""A worker: takes jobs from a folder or from stdin, makes their images, and never makes one twice.

    python worker.py --folder spool               every spool/in/NAME.json, and what comes later, until SIGTERM
    producer | python worker.py --folder spool -  a job on each line, until the end of stdin

A job is a JSON object with arguments of `generate` ({"prompt": "a red circle", "seed": 7}). Its image becomes
spool/out/NAME.png; what cannot be done goes to spool/failed, with NAME.error beside it.

What makes it safe to kill at any moment: the job id follows from the file (name and content). A worker that starts
again submits the same files under the same ids, so the server says which jobs it knows, and their images are fetched
instead of made. A file leaves spool/in only when its image is on the disk.
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
LOOK_SECONDS = 0.5  # how often the folder is looked at
CONCURRENCY = 8


class Spool:
    """The folder of jobs. Every change is one rename, so nothing is ever seen half done."""

    def __init__(self, folder: Path) -> None:
        self.waiting, self.out, self.failed = (folder / name for name in ("in", "out", "failed"))
        for place in (self.waiting, self.out, self.failed):
            place.mkdir(parents=True, exist_ok=True)

    def add(self, line: str) -> None:
        """A job from elsewhere; the same line again is the same job."""
        name = hashlib.sha256(line.encode()).hexdigest()[:16]
        part = self.waiting / f".{name}.part"
        part.write_text(line)
        part.replace(self.waiting / f"{name}.json")

    def jobs(self) -> list[Path]:
        return sorted(self.waiting.glob("[!.]*.json"))

    def text(self, path: Path) -> str:
        return path.read_text()

    def done(self, path: Path, image: pixwire.Image) -> None:
        image.save(self.out / f"{path.stem}{image.extension}")  # atomic, and on the disk when it returns
        path.unlink()

    def give_up(self, path: Path, why: str) -> None:
        (self.failed / f"{path.stem}.error").write_text(why + "\n")
        path.replace(self.failed / path.name)


class Worker:
    """Works on the files of a spool, a few at a time."""

    def __init__(self, client: pixwire.AsyncClient, spool: Spool, stop: asyncio.Event) -> None:
        self._client = client
        self._spool = spool
        self._stop = stop
        self._at_work: dict[Path, asyncio.Task[None]] = {}

    async def run(self, *, once: bool) -> None:
        """Until `stop` is set, or (once) until nothing waits."""
        while not self._stop.is_set():
            self._fill()
            if once and not self._at_work:
                return
            await self._something()
        # Nobody waits for the rest: the server goes on with what it has accepted, and the next start fetches it.
        for task in self._at_work.values():
            task.cancel()
        await asyncio.gather(*self._at_work.values(), return_exceptions=True)
        print(f"stopped; {len(self._spool.jobs())} jobs are left for the next start", flush=True)

    def _fill(self) -> None:
        for path in self._spool.jobs():
            if len(self._at_work) >= CONCURRENCY:
                return
            if path not in self._at_work:
                self._at_work[path] = asyncio.create_task(self._work(path))

    async def _something(self) -> None:
        """Returns when a job has ended, when it is time to look again, and when it is time to stop."""
        stopping = asyncio.create_task(self._stop.wait())
        tasks = {stopping, *self._at_work.values()}
        await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for path in [path for path, task in self._at_work.items() if task.done()]:
            self._at_work.pop(path).result()

    async def _work(self, path: Path) -> None:
        text = self._spool.text(path)
        try:
            order = json.loads(text)
            job_id = f"spool-{hashlib.sha256(f'{path.name} {text}'.encode()).hexdigest()[:40]}"
            image = await self._image(order, job_id)
        except (ValueError, TypeError) as error:  # no JSON, or not what `generate` takes
            self._spool.give_up(path, f"{path.name} is no job: {error}")
        except pixwire.JobEnded as error:
            self._spool.give_up(path, str(error))
        except pixwire.RequestFailed as error:
            if error.retry != "no" or isinstance(error, pixwire.AccessDenied):
                raise  # not this job's fault: let whoever starts the worker see it
            self._spool.give_up(path, str(error))
        else:
            self._spool.done(path, image)
            print(f"{path.stem}: {image!r}", flush=True)

    async def _image(self, order: dict[str, Any], job_id: str) -> pixwire.Image:
        while True:
            try:
                job = await self._client.submit(**order, job_id=job_id, priority="low", tags=["spool"])
                return await job.image()
            except pixwire.CapacityError as error:
                await asyncio.sleep((error.retry_after_ms or 1000) / 1000)
            except pixwire.JobGone:  # made so long ago that the server has forgotten the image: a new job
                job_id = f"{job_id}-again"


async def main() -> None:
    parser = argparse.ArgumentParser(description="Make the images of a folder of jobs.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("stdin", nargs="?", choices=["-"], help="take jobs from stdin, too, and end with them")
    options = parser.parse_args()

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    spool = Spool(options.folder)
    if options.stdin:
        for line in sys.stdin:
            spool.add(line.strip())
    # patience: how long a call waits for a server that is away. A worker has time.
    async with pixwire.connect(URL, token=os.environ.get("PIXWIRE_TOKEN"), patience=3600.0) as client:
        print("at work", flush=True)
        await Worker(client, spool, stop).run(once=bool(options.stdin))


if __name__ == "__main__":
    asyncio.run(main())
