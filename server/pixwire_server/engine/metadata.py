"""What an image file says about its making: enough to make it again. No times, so a rerun gives the same bytes.

Three forms of it. The *recipe* is JSON whose names are those of the request's parameters, with the seed of this very
image: PNG keyword `pixwire`, XMP property `recipe` elsewhere. The *parameters* are the one-paragraph text that other
programs for generated images read: PNG keyword `parameters`, EXIF UserComment elsewhere. EXIF's Software names us.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image

from pixwire_server.engine.api import CONTROL, STYLE, TXT2IMG, GenerateTask, ModelCard

PNG_RECIPE, PNG_PARAMETERS = "pixwire", "parameters"
XMP_NAMESPACE = "urn:x-pixwire:image#"

MAX_SEGMENT = 65_000
"""Bytes of EXIF or XMP that fit into one segment of a JPEG file. Longer ones are left out there."""

_EXIF_SOFTWARE, _EXIF_IFD, _EXIF_USER_COMMENT = 0x0131, 0x8769, 0x9286
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:pixwire="{namespace}"><pixwire:recipe>{recipe}</pixwire:recipe></rdf:Description></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="r"?>'
)


@dataclass(frozen=True, slots=True)
class Making:
    """The recipe as JSON and the parameters as text."""

    recipe: str = ""
    parameters: str = ""
    software: str = ""

    def png_text(self) -> dict[str, str]:
        """Text chunks by keyword."""
        texts = {PNG_RECIPE: self.recipe, PNG_PARAMETERS: self.parameters}
        return {keyword: text for keyword, text in texts.items() if text}

    def exif(self) -> bytes:
        """An EXIF block without a thumbnail; empty when there is nothing to say or it would be too long."""
        exif = Image.Exif()
        if self.software:
            exif[_EXIF_SOFTWARE] = self.software
        if self.parameters:
            exif.get_ifd(_EXIF_IFD)[_EXIF_USER_COMMENT] = b"UNICODE\0" + self.parameters.encode("utf-16-be")
        block = exif.tobytes() if len(exif) or self.parameters else b""
        return block if len(block) <= MAX_SEGMENT else b""

    def xmp(self) -> bytes:
        """An XMP packet; empty when there is nothing to say or it would be too long."""
        packet = _XMP.format(namespace=XMP_NAMESPACE, recipe=escape(self.recipe)).encode() if self.recipe else b""
        return packet if len(packet) <= MAX_SEGMENT else b""


NOTHING = Making()


def making(task: GenerateTask, seed: int, card: ModelCard, sampler: str) -> Making:
    """How the image of `task` with this seed was made. Reads the task's inputs for their digests: not for a loop."""
    recipe = _recipe(task, seed, card, sampler)
    return Making(_json(recipe), _parameters(recipe), software())


def software() -> str:
    """Name and version of this program."""
    try:
        return f"pixwire {metadata.version('pixwire-server')}"
    except metadata.PackageNotFoundError:  # run from a source tree
        return "pixwire"


def _recipe(task: GenerateTask, seed: int, card: ModelCard, sampler: str) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "kind": task.kind,
        "model": card.name,
        "prompt": task.prompt,
        "negative_prompt": task.negative_prompt,
        "width": task.width,
        "height": task.height,
        "steps": task.steps,
        "guidance_scale": task.guidance_scale,
        "seed": seed,
    }
    given = {item.name for item in task.inputs}
    if task.kind != TXT2IMG:
        recipe["strength"] = task.strength
    if CONTROL in given:
        recipe["control_scale"] = task.control_scale
    if STYLE in given:
        recipe["ip_scale"] = task.ip_scale
    if task.adapters:
        recipe["adapters"] = [{"name": Path(one.path).stem, "weight": one.weight} for one in task.adapters]
    if task.inputs:
        recipe["attachments"] = {item.name: _digest(item.path) for item in task.inputs}
    recipe |= {"pipeline": card.pipeline_class, "sampler": sampler, "dtype": card.dtype, "software": software()}
    return recipe


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _json(recipe: Mapping[str, Any]) -> str:
    text = json.dumps(recipe, ensure_ascii=False, separators=(",", ":"))
    for noncharacter in ("\ufffe", "\uffff"):  # XML has no way to write them
        text = text.replace(noncharacter, f"\\u{ord(noncharacter):04x}")
    return text


def _parameters(recipe: Mapping[str, Any]) -> str:
    """Prompt, negative prompt and a line of settings, as most programs for generated images write them."""
    settings = {
        "Steps": recipe["steps"],
        "Sampler": recipe["sampler"],
        "CFG scale": f"{recipe['guidance_scale']:g}",
        "Seed": recipe["seed"],
        "Size": f"{recipe['width']}x{recipe['height']}",
        "Model": recipe["model"],
    }
    if "strength" in recipe:
        settings["Denoising strength"] = f"{recipe['strength']:g}"
    prompt = recipe["prompt"] + "".join(f" <lora:{a['name']}:{a['weight']:g}>" for a in recipe.get("adapters", ()))
    negative = [f"Negative prompt: {recipe['negative_prompt']}"] if recipe["negative_prompt"] else []
    line = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return "\n".join([prompt, *negative, f"{line}, Version: {recipe['software']}"])
