"""The arguments and options of `pixwire wire conform`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Level(StrEnum):
    """The conformance levels of SPEC 15."""

    L0 = "L0"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"


_WORDS = typer.Argument(help="URL [SECTION ...]; with --client the COMMAND, best behind --", metavar="URL|COMMAND ...")
Words = Annotated[list[str] | None, _WORDS]
Only = Annotated[list[str] | None, typer.Option("--only", help="A section, case or requirement; repeatable.")]
Client = Annotated[bool, typer.Option("--client", help="Test a client: play a server for it (see COMMAND below).")]
Listen = Annotated[str, typer.Option(help="Where the played server listens (--client).")]
Jobs = Annotated[int, typer.Option(min=1, help="So many COMMANDs at a time (--client, free port).")]
UpTo = Annotated[Level, typer.Option(help="Cases up to this level of SPEC 15.")]
Strict = Annotated[bool, typer.Option("--strict", help="Also what SHOULD be.")]
Slow = Annotated[bool, typer.Option("--slow", help="Also what waits for clocks of the other side (minutes).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the cases, run none.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for any single answer.")]
Token = Annotated[str | None, typer.Option(envvar="PIXWIRE_TOKEN", help="Bearer token for AUTH.")]
InsecureToken = Annotated[bool, typer.Option("--insecure-token", help="Send the token in cleartext over a network.")]
Drain = Annotated[str | None, typer.Option(help="Command that makes the server drain; it is gone then.")]
Operate = Annotated[bool, typer.Option("--operate", help="Also pause the server for a moment (role admin).")]
Coverage = Annotated[bool, typer.Option("--coverage", help="List which requirements are asked for.")]
Ca = Annotated[Path | None, typer.Option(help="Trust this authority (PEM).")]
Cert = Annotated[Path | None, typer.Option(help="Our certificate (PEM).")]
Key = Annotated[Path | None, typer.Option(help="Its key (PEM).")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Do not verify the certificate.")]
ServerName = Annotated[str | None, typer.Option(help="Name in the certificate, if not the host.")]
Json = Annotated[bool, typer.Option("--json", help="The report as one JSON object.")]
Junit = Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")]

CONTRACT = """\
\b
COMMAND (--client) is started once per scenario, without a shell, with standard input closed:
  {url} {out} {job} {prompt} {image}   are replaced in its arguments ({image} by nothing in
                   scenarios that have no image: then PIXWIRE_IMAGE is not set either)
  PIXWIRE_URL      pixwire://host:port of the played server
  PIXWIRE_OUT      the file to write: the bytes of artifact 0 as they were sent, nothing else
  PIXWIRE_JOB      the job id to use for SUBMIT
  PIXWIRE_PROMPT   the prompt; kind txt2img, other parameters as you like
  PIXWIRE_IMAGE    in the scenarios of level L3 (uploads): a PNG file; the job is then img2img with
                   this file as the attachment `image`
It submits one job, follows it in any way (watch, WATCH, STATUS), gets artifact 0 in any way
(deliver, FETCH), writes PIXWIRE_OUT and exits with 0. When it cannot get the image it exits
with another code and leaves no PIXWIRE_OUT. It may reconnect and repeat as SPEC.md allows,
but must end within three times --timeout. Clients without uploads: --level L2.
Without COMMAND, start your client by hand against the URL that is printed, once per scenario;
then only what it sends is judged.

\b
Exit codes: 0 it conforms, 1 it does not, 2 wrong usage, 3 no connection.
"""
"""What the command of a client under test has to do; the end of the help."""
