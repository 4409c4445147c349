"""Fuzz the protocol code with atheris, from the corpus that is kept, for a set time; exit 1 on a defect.

    python tests/fuzz/fuzz.py                       # 60 seconds
    python tests/fuzz/fuzz.py --seconds 600 --keep  # and add to corpus.json what reaches new code

A defect is printed with its input in hexadecimal: put it into corpus.json, and test_corpus.py fails until it is mended.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.json"
ROOT = HERE.parents[1]
PATHS = (HERE, HERE.parent / "protocol", ROOT / "protocol")
MAX_BYTES = 600


def fuzz(arguments: list[str]) -> None:
    """The child: instrument the protocol code and hand over to libFuzzer, which ends the process."""
    import atheris

    sys.path[:0] = [str(path) for path in PATHS]
    with atheris.instrument_imports(include=["pixwire_protocol"]):
        from target import run

    atheris.Setup(arguments, run)
    atheris.Fuzz()


def make_program(folder: Path) -> Path:
    """One file to execute: merging, libFuzzer starts itself again."""
    program = folder / "fuzz"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" --child "$0" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def load(folder: Path) -> None:
    for text in json.loads(CORPUS.read_text(encoding="utf-8")):
        data = bytes.fromhex(text)
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def keep(folder: Path) -> int:
    """Write the corpus of a folder into corpus.json; returns how many inputs it has."""
    inputs = sorted((path.read_bytes() for path in folder.iterdir()), key=lambda data: (len(data), data))
    CORPUS.write_text(json.dumps([data.hex() for data in inputs], indent=0) + "\n", encoding="utf-8")
    return len(inputs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="add what reaches new code to corpus.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        known, found, merged = (Path(name) / part for part in ("known", "found", "merged"))
        for folder in (known, found, merged):
            folder.mkdir()
        load(known)
        program = make_program(Path(name))

        def libfuzzer(*arguments: str) -> int:
            return subprocess.run([program, *arguments], cwd=ROOT, check=False).returncode

        limits = f"-max_total_time={options.seconds}", f"-max_len={MAX_BYTES}", "-timeout=20", "-print_final_stats=1"
        code = libfuzzer(*limits, f"-artifact_prefix={name}/", str(found), str(known))
        for crash in [*Path(name).glob("crash-*"), *Path(name).glob("timeout-*")]:
            print(f"defect: {crash.read_bytes().hex()}")
            code = 1
        if options.keep and not code:
            code = libfuzzer("-merge=1", f"-max_len={MAX_BYTES}", str(merged), str(known), str(found))
            print(f"{CORPUS.name}: {keep(merged)} inputs")
    return code


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2:])
    sys.exit(main())
