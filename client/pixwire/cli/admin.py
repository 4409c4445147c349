"""The commands of `pixwire admin`: for those who look after a server."""

from collections.abc import Mapping
from typing import Any

from ..errors import invalid
from .exits import ExitCode, print_json, printable
from .target import Target
from .top_view import size


async def admin(target: Target, action: str, as_json: bool, timeout: float | None, **fields: Any) -> int:  # noqa: ASYNC109 - handed on to the library
    """Asks the server for `action` and prints what became of it."""
    given = {name: value for name, value in fields.items() if value is not None}
    _check(action, given)
    async with target.connect() as client:
        answer = await client.admin(action, timeout=timeout, **given)
    if as_json:
        print_json(answer)
    else:
        print(_words(action, answer))
    model = answer.get("model")
    failed = action in ("load", "add_model") and isinstance(model, Mapping) and model.get("state") == "failed"
    return ExitCode.FAILED if failed else ExitCode.OK


def _check(action: str, given: Mapping[str, Any]) -> None:
    """What is missing is better known before there is a connection."""
    if action == "cancel" and not given.keys() & {"job", "principal"}:
        raise invalid("job", None, "JOB or --principal", "name a job, or whose jobs are all to end")


def _words(action: str, answer: Mapping[str, Any]) -> str:
    """The answer as a sentence."""
    if action == "pause":
        return "paused: new jobs are refused until `pixwire admin resume`, or a restart; accepted ones run on"
    if action == "resume":
        return "new jobs are taken again"
    if action == "drain":
        return "draining: running jobs finish, then the server stops; waiting jobs stay on its disk"
    if action == "cancel":
        count = answer.get("cancelled", 0)
        return f"{count} job{'' if count == 1 else 's'} cancelled"
    if action == "requeue":
        return printable(str(answer.get("job", "")))
    model = answer.get("model")
    return _model(model) if isinstance(model, Mapping) else "done"


def _model(model: Mapping[str, Any]) -> str:
    line = f"{printable(str(model.get('name')))}: {printable(str(model.get('state')))}"
    if isinstance(model.get("bytes"), int) and model["bytes"]:
        line += f", {size(model['bytes'])}"
    return f"{line}: {printable(str(model['message']))}" if model.get("message") else line
