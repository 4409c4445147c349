"""Every MUST of SPEC.md has an id, and every id a test: a `req` marker in tests/, or a vector that names it."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "SPEC.md").read_text(encoding="utf-8")
ITEM = re.compile(r"^- \*\*\[(?P<id>PXW-[A-Z]{3}-\d{3})\]\*\* (?P<text>.*?)(?=\n- |\n\n|\Z)", re.DOTALL | re.MULTILINE)
MARKER = re.compile(r"\breq\((?P<ids>[^()]*)\)")
ID = re.compile(r"PXW-[A-Z]{3}-\d{3}")
REFERENCE = re.compile(r"(?<![-\w])(?P<area>[A-Z]{3})-(?P<number>\d{3})(?![-\w])")
KEYWORD = re.compile(r"\bMUST\b")
AREAS = [
    "CON",
    "FRM",
    "MSG",
    "HSK",
    "STR",
    "FLW",
    "REQ",
    "JOB",
    "ERR",
    "LIM",
    "KAL",
    "DRN",
    "EXT",
    "SEC",
    "AUT",
    "UPL",
    "ADM",
]

# Requirements without a test, each with the reason. An entry goes when its test comes; the test below insists on it.
NOT_YET_TESTED: dict[str, str] = {}

ITEMS = [(found["id"], found["text"]) for found in ITEM.finditer(SPEC)]
IDS = [name for name, _ in ITEMS]


def ids_in_tests() -> dict[str, set[str]]:
    """Requirement id -> the test files that mark it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for marker in MARKER.finditer(path.read_text(encoding="utf-8")):
            for name in ID.findall(marker["ids"]):
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def ids_in_vectors() -> dict[str, set[str]]:
    """Requirement id -> the vectors that name it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "protocol" / "vectors").glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            for name in case["req"]:
                found.setdefault(name, set()).add(f"{path.stem}:{case['id']}")
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_ids_are_unique_and_without_gaps() -> None:
    assert len(IDS) == len(set(IDS))
    for area in AREAS:
        numbers = [int(name[-3:]) for name in IDS if name.startswith(f"PXW-{area}-")]
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"{area}: a retired id stays listed"
    assert {name[4:7] for name in IDS} == set(AREAS)


def test_a_requirement_says_one_thing() -> None:
    assert [name for name, text in ITEMS if len(KEYWORD.findall(text)) != 1] == []


def test_no_must_stands_outside_a_requirement() -> None:
    text = without_code(SPEC)
    outside = ITEM.sub("", text)
    conventions = re.search(r"^### 1\.1 .*?^### ", outside, re.DOTALL | re.MULTILINE)
    assert conventions is not None
    rest = outside.replace(conventions[0], "")
    assert not [line for line in rest.splitlines() if KEYWORD.search(line) or re.search(r"\b(SHALL|REQUIRED)\b", line)]


def test_references_lead_somewhere() -> None:
    text = without_code(SPEC)
    named = {f"PXW-{found['area']}-{found['number']}" for found in REFERENCE.finditer(text) if found["area"] in AREAS}
    assert named <= set(IDS)
    sections = set(re.findall(r"^#+ ([\dA-D][\d.]*?)\.? ", SPEC, re.MULTILINE))
    mentioned = set(re.findall(r"\bsections? (\d+(?:\.\d+)*)", text))
    assert mentioned <= sections, mentioned - sections


def test_tests_and_vectors_name_ids_that_exist() -> None:
    for where in (ids_in_tests(), ids_in_vectors()):
        unknown = {name: files for name, files in where.items() if name not in IDS}
        assert not unknown


def test_programs_name_ids_that_exist() -> None:
    """Checkers, tools and servers cite requirements too; a wrong id there would lead nowhere."""
    unknown = {}
    for folder in ("client", "server", "protocol", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            named = {name for name in ID.findall(path.read_text(encoding="utf-8")) if name[4:7] in AREAS}
            if not named <= set(IDS):
                unknown[str(path.relative_to(ROOT))] = sorted(named - set(IDS))
    assert not unknown


def test_every_requirement_has_a_test() -> None:
    tested = set(ids_in_tests()) | set(ids_in_vectors())
    missing = [name for name in IDS if name not in tested and name not in NOT_YET_TESTED]
    assert not missing, "write a test and mark it with pytest.mark.req, or say in NOT_YET_TESTED why there is none"


def test_the_table_of_untested_requirements_is_not_longer_than_it_must_be() -> None:
    tested = set(ids_in_tests()) | set(ids_in_vectors())
    assert not [name for name in NOT_YET_TESTED if name in tested], "has a test now: take it out of the table"
    assert not [name for name in NOT_YET_TESTED if name not in IDS]
    assert all(NOT_YET_TESTED.values())


def test_conformance_lists_every_requirement_once_per_role() -> None:
    """Section 15: what is in no row binds nobody."""
    rows = re.findall(
        r"^\| (L[0-3]|LIST|AUTH|TLS) \| (.*?) \| (.*?) \|$", SPEC.split("generated:conformance")[1], re.MULTILINE
    )
    assert [row[0] for row in rows[:7]] == ["L0", "L1", "L2", "L3", "LIST", "AUTH", "TLS"]
    bound: dict[str, list[str]] = {"server": [], "client": []}
    for _, server, client in rows[:7]:
        bound["server"] += written_out(server)
        bound["client"] += written_out(client)
    for names in bound.values():
        assert len(names) == len(set(names))
    assert set(bound["server"]) | set(bound["client"]) == {name.removeprefix("PXW-") for name in IDS}
    for name, text in ITEMS:
        subject = text.partition("MUST")[0]
        assert not (re.match(r"A server\b", subject) and name[4:] in bound["client"]), name
        assert not (re.match(r"A client\b", subject) and name[4:] in bound["server"]), name


def written_out(cell: str) -> list[str]:
    """The ids in a cell such as "CON-001 to CON-003, FRM-007"."""
    names = []
    for part in filter(None, cell.strip().split(", ")):
        first, _, last = part.partition(" to ")
        names += [f"{first[:4]}{number:03}" for number in range(int(first[4:]), int((last or first)[4:]) + 1)]
    return names


def test_every_page_of_section_8_has_the_same_shape() -> None:
    section = SPEC.split("\n## 8. ")[1].split("\n## 9. ")[0]
    pages = re.split(r"^### 8\.\d+ ", section, flags=re.MULTILINE)[1:]
    assert len(pages) == 19
    for page in pages:
        places = [
            page.find(part) for part in ("<!-- generated:message-", "- *Legal:*", "- *Reply:*", "- *Errors:*", "```pxw")
        ]
        assert -1 not in places, page[:20]
        assert places == sorted(places), page[:20]
