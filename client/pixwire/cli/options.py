"""The options of the command line: how each is called, what it says in the help."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import PixwireError
from ..url import DEFAULT_URL
from .contexts import load
from .pictures import Way

Flag = typer.Option
Text = str | None

TOKEN_VARIABLE = "PIXWIRE_TOKEN"  # noqa: S105 - where a token is, not one

Url = Annotated[
    Text,
    Flag(
        "--url",
        envvar="PIXWIRE_URL",
        help="The server: pixwires://host[:port], pixwire:// or pixwire+unix:///path; several with commas. "
        f"[default: the context in use, or {DEFAULT_URL}]",
    ),
]


def context_names(incomplete: str) -> list[str]:
    """For the completion of the shell."""
    try:
        return [name for name in sorted(load().by_name) if name.startswith(incomplete)]
    except (PixwireError, OSError):
        return []


Context = Annotated[
    Text,
    Flag(
        "--context",
        envvar="PIXWIRE_CONTEXT",
        help="The server of this name (see pixwire contexts).",
        autocompletion=context_names,
    ),
]
Token = Annotated[
    Text,
    Flag(
        "--token",
        envvar=TOKEN_VARIABLE,
        help="Say who we are; better in a file or the variable: others see command lines.",
    ),
]
TokenFile = Annotated[Path | None, Flag("--token-file", help="A file with the token; read again when it has expired.")]
InsecureAuth = Annotated[
    bool, Flag("--allow-insecure-auth", help="Send the token in cleartext to other machines, too.")
]
CaFile = Annotated[Path | None, Flag("--cafile", help="Trust these certificates (PEM) instead of the system's.")]
CertFile = Annotated[Path | None, Flag("--cert", help="Show this certificate (PEM) to the server.")]
KeyFile = Annotated[Path | None, Flag("--key", help="The key (PEM) of --cert. [default: in the same file]")]
Json = Annotated[bool, Flag("--json", help="Print JSON on stdout, for programs; errors too.")]
Timeout = Annotated[
    float | None, Flag("--timeout", min=0.0, help="Seconds to wait; the job goes on. [default: no limit]")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job.")]

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT...", help="What the image shows; several make an image each. [with --like: optional]"
    ),
]
PromptFile = Annotated[Path | None, Flag("--prompts", help="A file with a prompt on each line; - is stdin.")]
Grid = Annotated[Path | None, Flag("--grid", help="Save one picture with all images and their prompts, too.")]
Open = Annotated[bool, Flag("--open", help="Open the images (or the grid) with the system's viewer.")]
Output = Annotated[
    Path | None,
    Flag(
        "--output",
        "-o",
        help="File (.png .jpg .webp .avif .rgb); out-1.png, out-2.png, ... for several; - is stdout. "
        "[default: named after the prompt]",
    ),
]
Negative = Annotated[Text, Flag("--negative", help="What the image must not show.")]
Steps = Annotated[int | None, Flag("--steps", help="Denoising steps.")]
Guidance = Annotated[float | None, Flag("--guidance", help="How closely to keep to the prompt.")]
Seed = Annotated[int | None, Flag("--seed", help="Same seed, same image. [default: the server draws one]")]
Width = Annotated[int | None, Flag("--width", help="Pixels.")]
Height = Annotated[int | None, Flag("--height", help="Pixels.")]
Count = Annotated[int, Flag("--count", "-n", help="How many images; image i has seed + i.")]
Model = Annotated[Text, Flag("--model", help="A model of the server. [default: the server's]")]
MediaType = Annotated[
    Text,
    Flag(
        "--media-type",
        help="image/png, image/jpeg, image/webp, image/avif or image/x-rgb8. [default: by the file's ending]",
    ),
]
ImageFile = Annotated[Path | None, Flag("--image", help="Paint over this picture (.png .jpg .webp).")]
MaskFile = Annotated[Path | None, Flag("--mask", help="With --image: only where this picture is white.")]
ControlFile = Annotated[Path | None, Flag("--control", help="A picture that guides the composition, if the model can.")]
Strength = Annotated[
    float | None, Flag("--strength", help="How much of --image is changed: above 0 to 1. [default: the model's]")
]
ControlScale = Annotated[float | None, Flag("--control-scale", help="How closely to follow --control: 0 to 2.")]
StyleFile = Annotated[Path | None, Flag("--style", help="A picture that gives the look, if the model can.")]
IpScale = Annotated[float | None, Flag("--ip-scale", help="How closely to follow --style: 0 to 2.")]
Adapters = Annotated[
    list[str] | None,
    Flag("--adapter", help="A LoRA of the server: NAME or NAME:WEIGHT (-4 to 4); may be given several times."),
]
Priority = Annotated[Text, Flag("--priority", help="low, normal or high. [default: normal]")]
Deadline = Annotated[
    float | None, Flag("--deadline", help="Seconds in which the job must end; else the server gives it up.")
]
QueueTtl = Annotated[float | None, Flag("--queue-ttl", help="Seconds in which the job must start.")]
RunTimeout = Annotated[float | None, Flag("--run-timeout", help="Seconds that the job may run.")]
Tags = Annotated[list[str] | None, Flag("--tag", help="A label to list the job by; may be given several times.")]
Like = Annotated[
    Path | None, Flag("--like", help="Make this picture again: take what is not given here from what the file tells.")
]
TraceParent = Annotated[Text, Flag("--traceparent", help="The trace the job belongs to (W3C Trace Context).")]
PreviewFile = Annotated[Path | None, Flag("--preview-file", help="Keep the latest preview in this file.")]
Previews = Annotated[
    Way,
    Flag(
        "--preview",
        help="Show the image as it comes along: kitty (its graphics protocol), iterm (inline images), blocks "
        "(half-block characters), off; auto: as the terminal can, and a bar where it cannot.",
    ),
]
NewJobId = Annotated[Text, Flag("--job", help="Job id; the same id and arguments again attach to the job.")]

Reason = Annotated[Text, Flag("--reason", help="Why, for the record.")]
FetchOutput = Annotated[
    Path | None,
    Flag("--output", "-o", help="File; numbered for several images; - is stdout. [default: named after the job]"),
]
Index = Annotated[int | None, Flag("--index", min=0, help="Only this image; the first is 0.")]
States = Annotated[
    list[str] | None,
    Flag("--state", help="Only queued, running, succeeded, failed, cancelled or expired jobs; may be repeated."),
]
Tag = Annotated[Text, Flag("--tag", help="Only jobs with this label.")]
Limit = Annotated[int | None, Flag("--limit", "-n", min=1, help="At most so many. [default: all]")]
Pings = Annotated[int, Flag("--count", "-c", min=1, max=7, help="How many round trips to measure.")]

DemoPrompts = Annotated[
    list[str] | None, Flag("--prompt", help="Only this one; may be given several times. [default: six prompts]")
]
DemoFolder = Annotated[Path, Flag("--out", help="Folder for the pictures; made if missing.")]
DemoSeed = Annotated[int, Flag("--seed", help="Seed of all the pictures.")]
DemoModel = Annotated[
    Path | None, Flag("--model", help="Folder of a diffusers pipeline. [default: the built-in model]")
]
