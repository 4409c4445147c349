"""`diff` and `lint`: captures compared with each other, and with the specification."""

from ...cli.exits import ExitCode
from ..conform.requirements import requirements
from ..diff import Difference, DiffOptions, diff
from ..lint import lint
from ..load import load
from ..screen import Screen
from ..shown import one_line

_SIDES = {"C": "client", "S": "server"}


def compare(first: str, second: str, options: DiffOptions, screen: Screen) -> int:
    """Prints every difference; 1 when there is one."""
    with screen.busy(f"comparing {first} with {second}"):
        found = diff(load(first), load(second), options)
    return show_differences(found, screen, (first, second))


def show_differences(found: list[Difference], screen: Screen, names: tuple[str, str]) -> int:
    """Prints differences and how many there are; 1 when there is one."""
    for difference in found:
        where = f"#{difference.conn} {difference.side} stream {difference.stream}, frame {difference.index + 1}"
        values = [
            f"    {name}: {one_line(value)}"
            for name, value in zip(names, (difference.a, difference.b), strict=True)
            if not (value is None and "only in" in difference.what)
        ]
        what = difference.what.replace("only in a", f"only in {names[0]}").replace("only in b", f"only in {names[1]}")
        screen.result(difference.to_map(), "\n".join([f"{where}: {what}", *values]))
    screen.result({"differences": len(found)}, _count(len(found), "difference"))
    return ExitCode.FAILED if found else ExitCode.OK


def check(path: str, screen: Screen, *, strict: bool) -> int:
    """Prints what in a capture is against the specification; 1 when something is."""
    with screen.busy(f"judging {path}"):
        found = lint(load(path))
    texts = requirements()
    for finding in found:
        sentences = [texts[name].text for name in finding.requirements if name in texts]
        lines = [f"{finding.where}: {finding.text}, {', '.join(finding.requirements)}"]
        lines += [f"    {sentence}" for sentence in sentences[:1]]
        style = "red" if finding.level == "error" else "yellow"
        screen.result({"item": "finding", **finding.to_map(), "sentences": sentences}, "\n".join(lines), style)
    errors = sum(finding.level == "error" for finding in found)
    warnings = len(found) - errors
    summary = {"errors": errors, "warnings": warnings}
    screen.result(summary, f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if found else "nothing found")
    return ExitCode.FAILED if errors or (strict and warnings) else ExitCode.OK


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
