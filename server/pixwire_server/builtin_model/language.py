"""How a scene is put into words: many wordings of one spec, and the words the tokenizer learns as whole tokens."""

from __future__ import annotations

import random

from .scenes import BROAD, Background, Spec, Thing, sample_spec

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet"),
    "orange": ("tangerine",),
    "yellow": ("golden", "lemon"),
    "green": ("emerald",),
    "cyan": ("turquoise", "aqua"),
    "blue": ("azure",),
    "purple": ("violet",),
    "pink": ("rose",),
    "black": ("dark",),
    "white": ("snowy",),
}
SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "disk", "ball", "dot"),
    "square": ("box", "block"),
    "triangle": ("pyramid",),
    "star": (),
    "heart": ("love heart",),
    "ring": ("donut", "hoop"),
    "cross": ("plus", "plus sign"),
    "diamond": ("rhombus",),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium", "medium sized"),
    "large": ("large", "large", "big", "big", "huge", "giant"),
}
POSITION_WORDS: dict[str, tuple[str, ...]] = {
    "center": ("in the center", "in the middle", "at the center", "centered", "in the centre"),
    "left": ("on the left", "on the left side", "at the left"),
    "right": ("on the right", "on the right side", "at the right"),
    "top": ("at the top", "on the top", "at the top of the image"),
    "bottom": ("at the bottom", "on the bottom", "at the bottom of the image"),
    "top left": ("in the top left corner", "at the top left", "in the upper left corner"),
    "top right": ("in the top right corner", "at the top right", "in the upper right corner"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left corner"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "in the lower right corner"),
}
RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath", "underneath"),
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "inside": ("inside", "in", "within"),
    "and": ("and", "next to", "beside", "with"),
}
SOLID_WORDS = (
    "on {a} background",
    "on {a} background",
    "on {a} background",
    "with {a} background",
    "with {a} background",
    "against {a} background",
    "over {a} background",
    "on {a} backdrop",
    "against {a} backdrop",
    "on a plain {b} background",
    "on a solid {b} background",
    "on {b}",
    "on {b}",
)
GRADIENT_WORDS = (
    "on {a} to {second} {way}gradient background",
    "on {a} to {second} {way}gradient",
    "on a {way}gradient from {first} to {second}",
    "with a {way}gradient background from {first} to {second}",
    "against a {way}gradient of {first} to {second}",
    "on a {way}background fading from {first} to {second}",
    "over a {way}{first} to {second} gradient backdrop",
)
#: How the outline of a thing is worded: {0} its colour, {1} its shape, {2} its size and a blank, if it has one, {3} all
#: of them and {4} size and shape with an article.
OUTLINE_WORDS = (
    "outlined {2}{0} {1}",
    "{2}outlined {0} {1}",
    "{2}{0} outlined {1}",
    "{2}{0} {1} outline",
    "outline of {3}",
    "{0} outline of {4}",
    "line drawing of {3}",
    "contour of {3}",
    "{2}unfilled {0} {1}",
    "{2}empty {0} {1}",
    "{2}{1} outlined in {0}",
    "{2}{0} {1} drawn as an outline",
    "{2}{0} {1} with only the outline",
    "{2}{0} {1}, outline only",
    "line art of {3}",
    "{2}{0} line art {1}",
)
#: A hollow circle might be a ring.
HOLLOW_WORDS = ("hollow {2}{0} {1}", "{2}hollow {0} {1}")
FILLED_WORDS = ("filled", "solid", "filled in")


def _split(text: str, mark: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(mark))


PREFIXES = _split(
    "a picture of/an image of/a drawing of/an illustration of/a photo of/draw/draw me/paint/please draw/"
    "show me/generate/create/create an image of/i want/make/a painting of/a digital artwork of/"
    "a simple icon of/can you draw",
    "/",
)
SUFFIXES = _split(
    ", high quality/, simple/, flat design/, vector art/, 4k/, minimal/, best quality/, highly detailed/"
    ", clean/ please/./!/, masterpiece/, sharp/, icon/, no text",
    "/",
)
FILLERS = _split(
    "beautiful cute nice shiny bright happy funny lovely pretty amazing modern old new tall magic great "
    "perfect cartoon colorful elegant cool classic smooth soft hot cold digital"
)
OTHER_WORDS = _split(
    "blurry low bad ugly deformed worst jpeg artifacts watermark text signature cat dog house tree car "
    "person man woman face sky sun sea mountain river city night day light water fire flower bird fish "
    "the of to is and style trending detailed photo realistic render background scene world test hello "
    "prompt image art three two one four five six ten with without lighting cinematic portrait landscape "
    "brown gray grey silver moon arrow"
)


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _word(rng: random.Random, name: str, synonyms: tuple[str, ...]) -> str:
    return rng.choice(synonyms) if synonyms and rng.random() < 0.25 else name


def _colour(rng: random.Random, name: str) -> str:
    return _word(rng, name, COLOUR_WORDS[name])


def _noun(thing: Thing, rng: random.Random, article: bool = True) -> str:
    if thing.outlined:
        return _outline(thing, rng, article)
    words = [rng.choice(SIZE_WORDS[thing.size])] if thing.size else []
    if rng.random() < 0.03 and thing.shape != "ring":
        words.append(rng.choice(FILLED_WORDS))
    if rng.random() < 0.05:
        words.insert(0, rng.choice(FILLERS))
    colour, shape = _colour(rng, thing.colour), _word(rng, thing.shape, SHAPE_WORDS[thing.shape])
    words += [shape, "that is", colour] if rng.random() < 0.04 else [colour, shape]
    text = " ".join(words)
    if not article or rng.random() < 0.08:
        return text
    return _article(text) if rng.random() < 0.93 else rng.choice(("the ", "one ")) + text


def _outline(thing: Thing, rng: random.Random, article: bool) -> str:
    wordings = OUTLINE_WORDS if thing.shape == "circle" else OUTLINE_WORDS + HOLLOW_WORDS
    size = rng.choice(SIZE_WORDS[thing.size]) + " " if thing.size else ""
    colour, shape = _colour(rng, thing.colour), _word(rng, thing.shape, SHAPE_WORDS[thing.shape])
    whole, plain = _article(f"{size}{colour} {shape}"), _article(size + shape)
    text = rng.choice(wordings).format(colour, shape, size, whole, plain)
    if not article or rng.random() < 0.08:
        return text
    return "the " + text if " of " in text and rng.random() < 0.5 else _article(text)


def _ground(background: Background, rng: random.Random) -> str:
    first = _colour(rng, background.first)
    if background.kind == "solid":
        return rng.choice(SOLID_WORDS).format(a=_article(first), b=first)
    second = _colour(rng, background.second or background.first)
    if background.kind == "gradient":
        way = ("vertical " if rng.random() < 0.15 else "") if background.vertical else "horizontal "
        wording = rng.choice(GRADIENT_WORDS)
        return wording.format(a=_article(first), first=first, second=second, way=way)
    way = "horizontal" if background.vertical else "vertical"
    return rng.choice((f"on {way} {first} and {second} stripes", f"with {way} {first} and {second} stripes"))


def _tags(spec: Spec, rng: random.Random) -> str:
    thing = spec.things[0]
    words = [_noun(thing, rng, article=False)]
    if thing.position:
        words.append(thing.position)
    if spec.background:
        ground = _ground(spec.background, rng).split(" ", 1)[1]
        words.append(ground.removeprefix("a ").removeprefix("an "))
        if spec.background.kind == "solid" and "back" not in ground:
            words[-1] += " background"
    rng.shuffle(words)
    return ", ".join(words)


def _decorate(text: str, rng: random.Random) -> str:
    if rng.random() < 0.2:
        text = f"{rng.choice(PREFIXES)} {text}"
    if rng.random() < 0.15:
        text += rng.choice(SUFFIXES)
    if rng.random() < 0.04:
        letters = "abcdefghijklmnopqrstuvwxyz0123456789éß'-"
        noise = "".join(rng.choice(letters) for _ in range(rng.randint(2, 6)))
        noise = rng.choice(OTHER_WORDS) if rng.random() < 0.7 else noise
        text = f"{noise} {text}" if rng.random() < 0.3 else f"{text}, {noise}"
    return text


def phrase(spec: Spec, rng: random.Random) -> str:
    """One of the many wordings of a spec."""
    if spec.relation is None and rng.random() < 0.08:
        return _tags(spec, rng)
    ground = _ground(spec.background, rng) if spec.background else ""
    if spec.relation is None:
        place = spec.things[0].position
        middle = [rng.choice(POSITION_WORDS[place])] if place else []
        parts = [_noun(spec.things[0], rng), *middle, ground]
        if middle and ground and rng.random() < 0.3:
            parts = [parts[0], ground, middle[0]]
    else:
        parts = [
            _noun(spec.things[0], rng),
            rng.choice(RELATION_WORDS[spec.relation]),
            _noun(spec.things[1], rng),
            ground,
        ]
    if ground and rng.random() < 0.06:
        parts.remove(ground)
        return _decorate(ground + (", " if rng.random() < 0.5 else " ") + " ".join(p for p in parts if p), rng)
    return _decorate(" ".join(p for p in parts if p), rng)


def vocabulary() -> dict[str, int]:
    """Every word of the language with its frequency in a fixed sample, and the common words of other prompts."""
    rng, counts = random.Random("vocabulary"), dict.fromkeys(FILLERS + OTHER_WORDS, 5)
    for word in " ".join(PREFIXES + SUFFIXES).split():
        counts.setdefault(word.strip(",.!"), 5)
    for _ in range(20_000):
        for word in phrase(sample_spec(rng, BROAD), rng).lower().replace(",", " ").split():
            if word.isascii() and word.isalpha():
                counts[word] = counts.get(word, 0) + 1
    return {word: count for word, count in counts.items() if count >= 5 and word.isalpha()}
