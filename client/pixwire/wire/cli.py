"""How the commands of `pixwire wire` are called: names, options, help. What they do is in `commands`.

`app` is complete once this module is imported; the commands themselves, and what they need, are imported when they run.
"""

import typer

from . import cli_files, cli_live, cli_proxy
from .conform.cli import register as register_conform

app = typer.Typer(
    name="wire",
    help="Look at the bytes of PXW/1: connect, decode, send, record, compare, judge.",
    epilog=cli_files.EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for register in (cli_live.register, cli_files.register, cli_proxy.register, register_conform):
    register(app)
