"""Which pipeline classes of diffusers belong together, and which of them a model folder may name.

Pure data and pure functions over names: nothing here imports torch. docs/families.md tells what became of every class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pixwire_server.engine.api import IMG2IMG, INPAINT, REQUIRED_INPUTS, TXT2IMG

Task = tuple[str, bool]
"""A kind of task, and whether a control image comes with it."""


@dataclass(frozen=True, slots=True)
class Family:
    """Class names in diffusers; "" where it has none. The last three are those of a model with a control image."""

    txt2img: str = ""
    img2img: str = ""
    inpaint: str = ""
    control: str = ""
    control_img2img: str = ""
    control_inpaint: str = ""

    def classes(self) -> dict[Task, str]:
        """The pipelines there are, by task."""
        every = {
            (TXT2IMG, False): self.txt2img,
            (IMG2IMG, False): self.img2img,
            (INPAINT, False): self.inpaint,
            (TXT2IMG, True): self.control,
            (IMG2IMG, True): self.control_img2img,
            (INPAINT, True): self.control_inpaint,
        }
        return {task: name for task, name in every.items() if name}

    def named(self) -> set[str]:
        """Classes that folders of this family name: what stands for the family without and with control."""
        plain = next((name for name in (self.txt2img, self.img2img, self.inpaint) if name), "")
        return {plain, self.control} - {""}


def _family(stem: str, parts: str) -> Family:
    """A family whose classes are named by the usual scheme. `parts`: t, i, p and with control c, d, q."""
    names = {"t": "", "i": "Img2Img", "p": "Inpaint", "c": "ControlNet"}
    names |= {"d": "ControlNetImg2Img", "q": "ControlNetInpaint"}
    return Family(*(f"{stem}{part}Pipeline" if letter in parts else "" for letter, part in names.items()))


_SD = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")
_SDXL = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline")
_UNION = "StableDiffusionXLControlNetUnion"

FAMILIES: tuple[Family, ...] = (
    _family("StableDiffusion", "tipcdq"),
    _family("StableDiffusionXL", "tipcdq"),
    _family("Flux", "tipcdq"),
    _family("StableDiffusion3", "tipc"),
    _family("Chroma", "tip"),
    _family("QwenImage", "tipc"),
    _family("ZImage", "tipcq"),
    _family("LatentConsistencyModel", "ti"),
    _family("SanaSprint", "ti"),
    _family("Sana", "tc"),
    _family("HunyuanDiT", "tc"),
    _family("Kolors", "ti"),
    _family("Kandinsky3", "ti"),
    Family("IFPipeline", "IFImg2ImgPipeline", "IFInpaintingPipeline"),
    # A control image by other means than a ControlNet beside the model
    Family(*_SD, "StableDiffusionAdapterPipeline"),
    Family(*_SDXL, "StableDiffusionXLAdapterPipeline"),
    Family(*_SDXL, f"{_UNION}Pipeline", f"{_UNION}Img2ImgPipeline", f"{_UNION}InpaintPipeline"),
    Family("", "", "", "FluxControlPipeline", "FluxControlImg2ImgPipeline", "FluxControlInpaintPipeline"),
    Family(control="CogView4ControlPipeline"),
    # Inpainting by a ControlNet
    Family("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageControlNetInpaintPipeline"),
    Family("StableDiffusion3Pipeline", "", "StableDiffusion3ControlNetInpaintingPipeline"),
    # Perturbed attention guidance
    Family(
        "StableDiffusionPAGPipeline", "StableDiffusionPAGImg2ImgPipeline", "StableDiffusionPAGInpaintPipeline",
        "StableDiffusionControlNetPAGPipeline", "", "StableDiffusionControlNetPAGInpaintPipeline",
    ),
    Family(
        "StableDiffusionXLPAGPipeline", "StableDiffusionXLPAGImg2ImgPipeline", "StableDiffusionXLPAGInpaintPipeline",
        "StableDiffusionXLControlNetPAGPipeline", "StableDiffusionXLControlNetPAGImg2ImgPipeline",
    ),
    Family("StableDiffusion3PAGPipeline", "StableDiffusion3PAGImg2ImgPipeline"),
    Family("PixArtSigmaPAGPipeline"),
    Family("SanaPAGPipeline"),
    Family("HunyuanDiTPAGPipeline"),
    Family("KolorsPAGPipeline"),
    # Editing models: one class with and without a picture
    Family("FluxKontextPipeline", "FluxKontextPipeline", "FluxKontextInpaintPipeline"),
    Family("Flux2Pipeline", "Flux2Pipeline"),
    Family("Flux2KleinPipeline", "Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
    Family("Flux2KleinKVPipeline", "Flux2KleinKVPipeline"),
    Family("QwenImage21Pipeline", "QwenImage21Pipeline"),
    Family("BriaFibo2Pipeline", "BriaFibo2Pipeline"),
    Family("DreamLitePipeline", "DreamLitePipeline"),
    Family("DreamLiteMobilePipeline", "DreamLiteMobilePipeline"),
    # Models that need a picture
    Family("", "QwenImageEditPipeline"),
    Family("", "QwenImageEditPlusPipeline"),
    Family("", "JoyImageEditPipeline"),
    Family("", "BriaFiboEditPipeline", "BriaFiboEditPipeline"),
    Family("", "StableDiffusionInstructPix2PixPipeline"),
    Family("", "StableDiffusionXLInstructPix2PixPipeline"),
    Family("", "StableDiffusionDepth2ImgPipeline"),
    Family("", "StableUnCLIPImg2ImgPipeline"),
    Family("", "Kandinsky5I2IPipeline"),
    Family(inpaint="FluxFillPipeline"),
    # Chains of two pipelines
    Family("KandinskyV22CombinedPipeline", "KandinskyV22Img2ImgCombinedPipeline"),
    Family(inpaint="KandinskyV22InpaintCombinedPipeline"),  # nine channels of input
    Family("StableCascadeCombinedPipeline"),
)  # fmt: skip
"""A class of no family is served for what it does itself. Of two rows with a class the first one counts for it."""

ONLY: Mapping[str, tuple[str, ...]] = {
    "StableDiffusionXLImg2ImgPipeline": (IMG2IMG, INPAINT),  # the refiner
    "StableDiffusionInpaintPipeline": (INPAINT,),  # nine channels of input
    "StableDiffusionXLInpaintPipeline": (INPAINT,),
    "ChromaInpaintPipeline": tuple(REQUIRED_INPUTS),
    "ZImageControlNetInpaintPipeline": tuple(REQUIRED_INPUTS),
    "QwenImageControlNetInpaintPipeline": tuple(REQUIRED_INPUTS),
    "StableDiffusion3ControlNetInpaintingPipeline": (TXT2IMG, INPAINT),
}
"""Further classes that models are saved as, and the kinds these models are for."""

LOADED = frozenset(ONLY).union(*(family.named() for family in FAMILIES))
"""Classes a model folder may name."""

SEEING = ("StableUnCLIPImg2ImgPipeline", "StableDiffusionDepth2ImgPipeline")
"""Classes that look at their picture by `image_encoder` or `feature_extractor`."""

CONTROLS = ("controlnet", "adapter")
"""Components that take the control image; models that have neither see it in their own channels."""


def siblings(loaded: str, *, has_control: bool) -> dict[Task, str]:
    """The classes for a model saved as class `loaded`, by task. `has_control`: it has one of `CONTROLS`."""
    for family in FAMILIES:
        classes = family.classes()
        if loaded not in classes.values():
            continue
        allowed = ONLY.get(loaded, tuple(REQUIRED_INPUTS))
        controlled = has_control or all(with_control for _, with_control in classes)
        return {task: name for task, name in classes.items() if task[0] in allowed and (controlled or not task[1])}
    return {(TXT2IMG, False): loaded}
