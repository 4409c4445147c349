"""`pixwire serve`: flags made from the configuration's fields, then the server until a signal ends it.

`pixwire-server token PRINCIPAL` makes a token for it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from pixwire_server import token_command
from pixwire_server.config import ConfigError, FieldHelp, describe_fields, load, suggest

PROGRAM = "pixwire serve"
EXIT_FAILED, EXIT_USAGE = 1, 2
_DESCRIPTION = "Serve an image-diffusion model over the PXW protocol until SIGTERM or SIGINT."
_EPILOG = """\
Every option is also an environment variable (--data-dir: PIXWIRE_DATA_DIR) and a key of the TOML file (data_dir).
Flags win over the environment, the environment over the file, the file over the defaults.

examples:
  pixwire serve                                              the built-in model on pixwire://127.0.0.1:7499
  pixwire serve --model ./my-model --device cuda             a diffusers folder on a GPU
  pixwire serve --listen pixwire+unix:///run/pixwire.sock    a Unix socket, for programs on this machine
  pixwire serve --http 8080                                  HTTP as well: OpenAI-compatible API, jobs, /metrics
  pixwire serve --listen 127.0.0.1:0                         any free port; the line on stdout says which
  pixwire serve --listen pixwires://0.0.0.0 --tls-cert cert.pem --tls-key key.pem --tokens tokens.toml
                                                             encrypted, for whoever has a token
  PIXWIRE_LOG_LEVEL=debug pixwire serve --config server.toml

`python -m pixwire_server token PRINCIPAL` makes a token. SIGHUP reads tokens and certificates again.
The first SIGTERM or SIGINT drains: running jobs finish (--drain-grace-s), waiting jobs stay on disk for the next start.
A second one stops at once. Exit codes: 0 drained, 1 could not start or lost its engine, 2 bad configuration.
"""


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors that name the nearest flag."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            flags = {field.flag: field for field in describe_fields().values()}
            message = f"unknown option {unknown}{suggest(unknown.split()[0].partition('=')[0], flags)}"
        self.exit(EXIT_USAGE, f"{PROGRAM}: {message}\nTry `{PROGRAM} --help`.\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser for `describe_fields()`; a flag that is not given leaves no value, so that other sources count."""
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [OPTION VALUE]...",  # all of them in a row would help nobody
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file with any of the options below. [env PIXWIRE_CONFIG]"
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in describe_fields().values():
        group = groups.get(field.group)
        if group is None:
            group = groups[field.group] = parser.add_argument_group(field.group)
        _add(group, field)
    return parser


def _add(group: argparse._ArgumentGroup, field: FieldHelp) -> None:
    choices = f"{{{field.allowed.replace(' | ', ',')}}}"
    allowed = (
        f" Allowed: {field.allowed}." if field.metavar else ""
    )  # a list of choices stands in the placeholder already
    text = f"{field.description}{allowed} Default: {field.default}.".replace("%", "%%")  # argparse expands %
    if field.is_flag:
        group.add_argument(field.flag, nargs="?", const="true", metavar=choices, help=text)
        group.add_argument(
            field.flag.replace("--", "--no-", 1),
            dest=field.name,
            action="store_const",
            const="false",
            help="The opposite.",
        )
    elif field.is_list:
        group.add_argument(field.flag, action="append", metavar=field.metavar, help=text)
    else:
        group.add_argument(field.flag, metavar=field.metavar or choices, help=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server, or the command `token`; returns the process's exit code. argparse itself exits for --help and for
    unknown flags.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments and arguments[0] in _COMMANDS else "serve"
    return _COMMANDS[command](arguments)


def _serve(argv: Sequence[str]) -> int:
    flags = vars(build_parser().parse_args(argv))
    config_file = flags.pop("config", None)
    try:
        config = load(flags, config_file)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"{PROGRAM}: {line}", file=sys.stderr)
        return EXIT_USAGE

    from pixwire_server import app  # after the configuration is known to be good: loading it takes a moment

    return app.run(config)


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"serve": _serve, "token": token_command.main}
