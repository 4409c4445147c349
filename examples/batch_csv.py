"""The images of a CSV file, a few at a time; start it again after a crash and it goes on.

    python batch_csv.py prompts.csv out --concurrency 16

Columns of the CSV file: `name` (of the image), `prompt`, and if wanted negative_prompt, model, media_type (texts),
width, height, steps, seed (whole numbers), guidance_scale, strength (numbers). Empty cells are the server's choice.
out/ gets the images and manifest.csv: what became of every try, with the seed that makes the image again.
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
COLUMNS = {
    **dict.fromkeys(("prompt", "negative_prompt", "model", "media_type"), str),
    **dict.fromkeys(("width", "height", "steps", "seed"), int),
    **dict.fromkeys(("guidance_scale", "strength"), float),
}
Row = tuple[str, dict[str, Any]]
MANIFEST = ["name", "file", "seed", "width", "height", "job", "error", "prompt"]


class Manifest:
    """out/manifest.csv. A row is on the disk before the next one begins; one that was cut in a crash counts as none."""

    def __init__(self, path: Path) -> None:
        rows = csv.DictReader(path.read_text().splitlines() if path.exists() else [])
        whole = [row for row in rows if None not in row.values()]
        good = [row for row in whole if row["error"] or (path.parent / row["file"]).exists()]
        self.done = {row["name"] for row in good if not row["error"]}
        self.failures = Counter(row["name"] for row in good if row["error"])
        part = path.with_suffix(".part")
        self._file = part.open("w", newline="")
        self._writer = csv.DictWriter(self._file, MANIFEST)
        self._writer.writeheader()
        self._writer.writerows(good)
        self._sync()
        part.replace(path)

    def add(self, **row: Any) -> None:
        self._writer.writerow(row)
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Row]:
    """Name and arguments of each row. Raises SystemExit with the line that is wrong."""
    names: set[str] = set()
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin the file with a mark
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if missing := {"name", "prompt"} - columns:
            raise SystemExit(f"{path}: its first line does not name the columns {', '.join(sorted(missing))}")
        unknown = columns - {"name", *COLUMNS}
        if unknown:
            raise SystemExit(
                f"{path}: unknown columns {', '.join(sorted(unknown))}; allowed: name, {', '.join(COLUMNS)}"
            )
        for row in reader:
            if None in row:
                raise SystemExit(f"{path}, line {reader.line_num}: too many fields: quote a text with a comma")
            name = row.pop("name") or ""
            if not name or "/" in name or name in names:
                raise SystemExit(f"{path}, line {reader.line_num}: the name {name!r} is empty, used twice, or has a /")
            names.add(name)
            try:
                yield name, {key: COLUMNS[key](value) for key, value in row.items() if value}
            except ValueError as error:
                raise SystemExit(f"{path}, line {reader.line_num}: {error}") from None


def batch_id(folder: Path) -> str:
    """A name for this run, kept beside its images: another folder is another run, with images of its own."""
    path = folder / ".batch"
    if not path.exists():
        part = folder / ".batch.part"
        part.write_text(os.urandom(8).hex())
        part.replace(path)
    return path.read_text()


def requests(rows: list[Row], batch: str, failures: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """What to ask for. A job id of its own for each row makes repeating safe: the server knows what it has accepted.
    A row that has failed gets a new one, since a job that has ended stays as it is.
    """
    for name, arguments in rows:
        text = json.dumps([batch, name, arguments, failures[name]], sort_keys=True)
        yield {**arguments, "job_id": f"csv-{hashlib.sha256(text.encode()).hexdigest()[:40]}"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the images of a CSV file.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--concurrency", type=int, default=16, help="jobs at the server at a time (default: 16)")
    options = parser.parse_args()

    try:
        wanted = list(read(options.csv))
    except (OSError, UnicodeError) as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(options.out / "manifest.csv")
    rows = [(name, arguments) for name, arguments in wanted if name not in manifest.done]
    print(f"{len(wanted)} rows, {len(wanted) - len(rows)} done before", flush=True)
    failed = 0
    with pixwire.Client(URL, token=os.environ.get("PIXWIRE_TOKEN"), patience=600.0) as client:
        work = requests(rows, batch_id(options.out), manifest.failures)
        for outcome in client.generate_many(work, concurrency=options.concurrency, priority="low"):
            name, arguments = rows[outcome.index]
            if outcome.error is not None:  # in the manifest, and tried again by the next start
                failed += 1
                manifest.add(name=name, error=str(outcome.error), prompt=arguments.get("prompt"))
                continue
            image = outcome.image
            path = image.save(options.out / f"{name}{image.extension}")
            shape = {"width": image.width, "height": image.height, "seed": image.seed, "job": image.job}
            manifest.add(name=name, file=path.name, **shape, prompt=arguments["prompt"])
            print(path, flush=True)
    manifest.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
