"""How `pixwire contexts` is called: add, list, show, use, remove."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import PixwireError, invalid
from ..url import parse_url
from . import contexts
from . import options as o
from .exits import print_json, report
from .target import split_urls

commands = typer.Typer(
    name="contexts",
    help="Save servers and tokens under names, and choose one: pixwire COMMAND --context NAME, or contexts use NAME.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The context's name.", autocompletion=o.context_names)]


def register(app: typer.Typer) -> None:
    """Adds the commands to `pixwire`."""
    app.add_typer(commands)


def _execute(work: Callable[[], None], as_json: bool) -> int:
    try:
        work()
    except (PixwireError, OSError) as error:
        return report(error, as_json=as_json)
    return 0


@commands.command("add")
def _add(
    name: Name,
    url: Annotated[str, o.Flag("--url", help="The server, or several with commas between them.")],
    token: Annotated[
        o.Text, o.Flag("--token", help="The token itself, kept in the file; - reads it from stdin.")
    ] = None,
    token_file: o.TokenFile = None,
    insecure_auth: o.InsecureAuth = False,
    cafile: o.CaFile = None,
    cert: o.CertFile = None,
    key: o.KeyFile = None,
    use: Annotated[bool, o.Flag("--use", help="Use it from now on.")] = False,
    as_json: o.Json = False,
) -> int:
    """Save a server; the same name again replaces it. The first one is used from then on.

    \b
    Examples:
      pixwire contexts add home --url pixwire://nas.local --token-file ~/.pixwire-token --allow-insecure-auth
      pass pixwire | pixwire contexts add work --url pixwires://gpu1.example,pixwires://gpu2.example --token - --use
    """

    def work() -> None:
        for one in split_urls(url):
            parse_url(one)
        given: dict[str, Any] = {
            "url": url,
            "token": typer.get_text_stream("stdin").read().strip() if token == "-" else token,  # noqa: S105
            "token_file": _absolute(token_file),
            "allow_insecure_auth": insecure_auth or None,
            "cafile": _absolute(cafile),
            "cert": _absolute(cert),
            "key": _absolute(key),
        }
        if token == "-" and not given["token"]:  # noqa: S105
            raise invalid("token", "-", "a token on stdin", "--token - reads the token from stdin, and nothing came")
        if given["token"] and token_file is not None:
            raise invalid("token", "(a token)", "one of the two", "both --token and --token-file are given")
        changed = contexts.load().with_one(name, {field: value for field, value in given.items() if value})
        contexts.save(changed.using(name) if use else changed)
        _say(name, as_json)

    return _execute(work, as_json)


@commands.command("list")
def _list(as_json: o.Json = False) -> int:
    """List the contexts; a star marks the one in use.

    \b
    Example:
      pixwire contexts list --json | jq -r '.contexts[].name'
    """

    def work() -> None:
        found = contexts.load()
        shown = [{"name": name, "used": name == found.used, **_shown(found, name)} for name in sorted(found.by_name)]
        if as_json:
            print_json({"contexts": shown})
            return
        for one in shown:
            print(f"{'*' if one['used'] else ' '} {one['name']}  {one['url']}")
        if not shown:
            print("no contexts; make one with: pixwire contexts add NAME --url URL")

    return _execute(work, as_json)


@commands.command("show")
def _show(
    name: Annotated[o.Text, typer.Argument(metavar="[NAME]", help="[default: the one in use]")] = None,
    as_json: o.Json = False,
) -> int:
    """Print what a context holds. A token is not printed.

    \b
    Example:
      pixwire contexts show work
    """

    def work() -> None:
        found = contexts.load()
        chosen = name or found.used
        if chosen is None:
            raise invalid("context", None, "a name", "no context is in use: name one, or pixwire contexts use NAME")
        _say(chosen, as_json)

    return _execute(work, as_json)


@commands.command("use")
def _use(name: Name, as_json: o.Json = False) -> int:
    """Use this context when neither --url nor --context nor PIXWIRE_URL says otherwise.

    \b
    Example:
      pixwire contexts use work
    """

    def work() -> None:
        contexts.save(contexts.load().using(name))
        _say(name, as_json)

    return _execute(work, as_json)


@commands.command("remove")
def _remove(name: Name, as_json: o.Json = False) -> int:
    """Forget a context, its token included.

    \b
    Example:
      pixwire contexts remove work
    """

    def work() -> None:
        contexts.save(contexts.load().without(name))
        if as_json:
            print_json({"removed": name})
        else:
            print(f"removed {name}")

    return _execute(work, as_json)


def _absolute(file: Path | None) -> str | None:
    """A context is used from other folders, too."""
    return None if file is None else os.path.abspath(file.expanduser())


def _shown(found: contexts.Contexts, name: str) -> dict[str, Any]:
    values = found.get(name)
    return {field: "(kept)" if field == "token" else values[field] for field in contexts.FIELDS if field in values}


def _say(name: str, as_json: bool) -> None:
    found = contexts.load()
    shown = {"name": name, "used": name == found.used, **_shown(found, name)}
    if as_json:
        print_json(shown)
        return
    print(f"{name}{' (in use)' if found.used == name else ''}")
    for field, value in shown.items():
        if field not in ("name", "used"):
            print(f"  {field}: {value}")
