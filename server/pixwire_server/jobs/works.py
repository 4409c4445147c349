"""From a job to what it asks of the engine: the shape of its passes, how many rows and how many of them.

What a pipeline makes of a request is its own business (guidance as two rows or as two calls, a ControlNet in every
step), so it is learnt from what the engine reports, per shape; before that it is guessed.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import GenerateParams
from pixwire_server.engine import api
from pixwire_server.scheduling.cost import Shape, Work

from . import resolve

PROFILES = 1024
"""Profiles remembered; the one unused longest is forgotten."""

WORKS = 1024
"""Works remembered; looking one up costs a tenth of working it out."""

BYTES_A_PIXEL = 16
"""Memory a resident image holds beside the model, at most: its pixels as three numbers of 4 bytes, with its latents and
embeddings in the rest.
"""

UNGUIDED = 1.0
"""Guidance scales up to this one do not ask for a second, unconditional answer."""

Names = tuple[str, ...]
"""Of what came along: a ControlNet's picture, the style to follow."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one image of a shape asks for in a step."""

    rows: int = 1
    calls: int = 1
    modules: tuple[str, ...] = ()
    """Denoiser modules beside the main one that are called in every step."""


class Works:
    """Knows the works of jobs; learns from passes and from finished tasks.

    `where(model)`: its device and number type.
    """

    def __init__(self, where: Callable[[str], str] = lambda model: "") -> None:
        self._where = where
        self._profiles: OrderedDict[tuple[str, bool], Profile] = OrderedDict()
        self._known: dict[Hashable, Work] = {}

    def of(self, params: GenerateParams, attachments: tuple[Attachment, ...]) -> Work:
        """What this job asks for, the same object for jobs that ask for the same. `params` comes from `resolve`."""
        key = (
            *(params.model, params.width, params.height, params.steps, params.strength, params.guidance_scale),
            *(params.count, params.adapters, tuple([one.name for one in attachments]) if attachments else ()),
            self._where(params.model or ""),
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= WORKS:
                self._known.clear()
            known = self._known[key] = self._work(params, attachments)
        return known

    def _work(self, params: GenerateParams, attachments: tuple[Attachment, ...]) -> Work:
        shape, guided, images = self._shape(params, attachments), _guided(params), params.count or 1
        profile = self._profiles.get((shape.name, guided)) or Profile(rows=2 if guided else 1)
        also = tuple(Shape(f"{shape.name}+{module}", shape.cells) for module in profile.modules)
        return Work(shape, resolve.steps(params) * profile.calls, images * profile.rows, images, also)

    def passed(self, one: api.Pass, params: GenerateParams) -> None:
        """A denoiser pass that this job had for itself."""
        base, _, module = one.shape.partition("+")
        profile = self._profile(base, params)
        if module:
            if module not in profile.modules:
                self._learn(base, params, replace(profile, modules=(*profile.modules, module)))
        else:
            self._learn(base, params, replace(profile, rows=max(1, one.rows // (params.count or 1))))

    def finished(self, params: GenerateParams, attachments: tuple[Attachment, ...], passes: int, steps: int) -> None:
        """A job took part in so many denoiser passes, in so many steps."""
        if steps <= 0:
            return
        base = self._shape(params, attachments).name
        profile = self._profile(base, params)
        calls = max(1, round(passes / steps) - len(profile.modules))
        self._learn(base, params, replace(profile, calls=calls))

    def _shape(self, params: GenerateParams, attachments: tuple[Attachment, ...]) -> Shape:
        width, height = params.width or 0, params.height or 0
        model = (params.model or "").replace("+", "%2B")  # what follows a plus is the name of a module
        extras = [one.name for one in attachments if one.name in (api.CONTROL, api.STYLE)]
        extras += [f"{one.name.replace('+', '%2B')}*{one.weight:g}" for one in params.adapters]
        name = ":".join([f"{model}@{self._where(params.model or '')}", f"{width}x{height}", *extras])
        return Shape(sys.intern(name), width * height)  # one string for all jobs that wait with this shape

    def _profile(self, base: str, params: GenerateParams) -> Profile:
        guided = _guided(params)
        return self._profiles.get((base, guided)) or Profile(rows=2 if guided else 1)

    def _learn(self, base: str, params: GenerateParams, profile: Profile) -> None:
        key = base, _guided(params)
        if self._profiles.get(key) != profile:
            self._known.clear()
        self._profiles[key] = profile
        self._profiles.move_to_end(key)
        if len(self._profiles) > PROFILES:
            self._profiles.popitem(last=False)
            self._known.clear()


def memory(work: Work) -> int:
    """Bytes this job holds in the engine while it is resident, about."""
    return work.images * work.shape.cells * BYTES_A_PIXEL


def _guided(params: GenerateParams) -> bool:
    return (params.guidance_scale or 0.0) > UNGUIDED
