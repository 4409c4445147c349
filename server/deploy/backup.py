"""Copies the store of a pixwire server while it runs: the journal in one consistent state, then the files it names.

    python backup.py /var/lib/pixwire /backup/pixwire-2026-11-23

The order makes it right. Every file that the copied journal names was on the disk before the journal named it; files
that come later belong to later jobs, and the server removes what no job refers to when it starts with the copy. What
retention deletes meanwhile is missing in the copy: it was about to go anyway. Files never change, so the copy may be
made of links (`--link`, on the same file system) at no cost.

To restore: stop the server, put the copy in the place of its folder, start it. The copy needs nothing but this script.
"""

import argparse
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

JOURNAL = "journal.sqlite3"
FOLDERS = ("artifacts", "attachments")
TEMPORARY = "tmp"  # what is being written
PAGES = 1000  # copied at a time; in between the server may write


def copy_journal(source: Path, target: Path) -> int:
    """The journal at one moment, by SQLite's backup API; returns the number of its jobs. Raises sqlite3.Error."""
    log = source.with_name(f"{source.name}-wal")
    # The journal of a server that was stopped in peace has no log. Reading it in the usual way would make one, which
    # belongs to whoever runs this, and which the server then perhaps may not open.
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?{mode}", uri=True)) as journal,
        closing(sqlite3.connect(target)) as copy,
    ):
        journal.backup(copy, pages=PAGES)
        if "immutable" in mode and log.exists():
            raise sqlite3.OperationalError("a server was started meanwhile; try again")
        (health,) = copy.execute("PRAGMA integrity_check").fetchone()
        if health != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {health}")
        (jobs,) = copy.execute("SELECT count(*) FROM job").fetchone()
        return int(jobs)


def copy_files(source: Path, target: Path, *, link: bool) -> int:
    """Images and attachments; returns how many. Those that vanish meanwhile are left out."""
    count = 0
    for folder in FOLDERS:
        for path in (source / folder).rglob("*"):
            name = path.relative_to(source)
            if path.is_dir() or TEMPORARY in name.parts:
                continue
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                os.link(path, place) if link else shutil.copy2(path, place)
            except FileNotFoundError:
                continue
            count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description="Copy the store of a pixwire server, running or not.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("target", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--link", action="store_true", help="hard links in place of copies of the files")
    options = parser.parse_args()
    part = options.target.with_name(f"{options.target.name}.part")
    try:
        if options.target.exists():
            raise FileExistsError(f"{options.target} exists; name a folder that does not")
        if not (options.data_dir / JOURNAL).is_file():
            raise FileNotFoundError(f"{options.data_dir} has no {JOURNAL}; name the data_dir of a server")
        if part.exists():
            raise FileExistsError(f"{part} is left of a copy that was not finished; remove it")
        part.mkdir(parents=True, mode=0o700)
        jobs = copy_journal(options.data_dir / JOURNAL, part / JOURNAL)
        files = copy_files(options.data_dir, part, link=options.link)
        part.rename(options.target)
    except (OSError, sqlite3.Error) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1
    print(f"{options.target}: {jobs} jobs, {files} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
