"""Write the report of what is recorded: `python -m benchmarks.report`.

    python -m benchmarks.report                    # benchmarks/results/report.html and report.md
    python -m benchmarks.report --readme           # the main table, in Markdown, on standard output
    python -m benchmarks.report --section client   # one section, likewise

Reads the JSON of every benchmark in the folder. What has not been measured is said to be missing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import html, markdown, read


def write(folder: Path) -> list[Path]:
    """Both forms into the folder; their paths."""
    report = read.read(folder)
    written = []
    for name, text in (("report.html", html.page(report)), ("report.md", markdown.page(report))):
        path = folder / name
        path.write_text(text)
        written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=read.DEFAULT_FOLDER, help="where the records are")
    parser.add_argument("--readme", action="store_true", help="print the main table, write nothing")
    parser.add_argument("--section", metavar="NAME", help="print this section, write nothing")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        raise SystemExit(f"there is no folder {options.folder}; run a benchmark with --json first, or name another")
    if options.readme or options.section:
        report = read.read(options.folder)
        chosen = [one for one in report.sections if one.key == options.section]
        if options.section and not chosen:
            names = ", ".join(one.key for one in report.sections)
            raise SystemExit(f"there is no record {options.section!r}; there are {names or 'none'}")
        print("\n".join(markdown.section(chosen[0])) if chosen else markdown.readme(report), end="")
        return
    for path in write(options.folder):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
