"""Pipeline classes beyond text to image: each does its tasks in the hub as the plain pipelines do them alone."""

from pathlib import Path

import pytest
import tiny_chains as chains
import tiny_editing as editing
import tiny_more as more
import tiny_new as new
import tiny_pictures as pictures
import tiny_pipelines as tiny
import tiny_rare as rare
import torch
from hub_lab import FAMILIES, NO_BINS, QUIET
from picture_lab import Kind, compare

from pixwire_server.engine.api import IMG2IMG, INPAINT, TXT2IMG
from pixwire_server.engine.card import check_pipeline, check_pipeline_class, describe

pytestmark = QUIET

T, I, P = (TXT2IMG, False), (IMG2IMG, False), (INPAINT, False)  # noqa: E741
TC, IC, PC = (TXT2IMG, True), (IMG2IMG, True), (INPAINT, True)


def _does(*tasks: tuple[str, bool]) -> frozenset[tuple[str, bool]]:
    return frozenset(tasks)


PAG = "perturbed attention divides the rows of a pass in three"
_sd = FAMILIES["sd15"].text
_sana = lambda k: tiny.masked_text(k, 8, 8)  # noqa: E731

KINDS: dict[str, Kind] = {
    "sdxl_union": Kind(pictures.sdxl_union, _sd, _does(T, I, P, TC, IC, PC), settings={"control_mode": 1}),
    "sd_adapter": Kind(pictures.sd_adapter, _sd, _does(T, I, P, TC)),
    "sdxl_adapter": Kind(pictures.sdxl_adapter, _sd, _does(T, I, P, TC)),
    "flux_control": Kind(pictures.flux_control, tiny.flux_text, _does(TC, IC, PC)),
    "cogview4_control": Kind(pictures.cogview4_control, lambda k: more.two_texts(k, 16, 32), _does(TC)),
    "hunyuan_dit_controlnet": Kind(
        pictures.hunyuan_dit_controlnet, more.hunyuan_dit_text, _does(T, TC), tolerance=1e-5
    ),
    "sana_controlnet": Kind(pictures.sana_controlnet, _sana, _does(T, TC), extra=NO_BINS),
    "sd3_controlnet": Kind(pictures.sd3_controlnet, _sd, _does(T, I, P, TC)),
    "sd3_controlnet_inpaint": Kind(pictures.sd3_controlnet_inpaint, _sd, _does(T, P)),
    "qwen_controlnet_inpaint": Kind(
        pictures.qwen_controlnet_inpaint, lambda k: tiny.ragged_text(k, 5 + k), _does(T, I, P)
    ),
    "zimage_controlnet": Kind(pictures.zimage_controlnet, lambda k: tiny.listed_text(k, 7), _does(T, I, P, TC)),
    "zimage_controlnet_inpaint": Kind(
        pictures.zimage_controlnet_inpaint, lambda k: tiny.listed_text(k, 7), _does(T, I, P, TC, PC)
    ),
    "pix2pix": Kind(pictures.pix2pix, _sd, _does(I)),
    "sdxl_pix2pix": Kind(pictures.sdxl_pix2pix, _sd, _does(I)),
    "chroma_inpaint": Kind(pictures.chroma_inpaint, more.chroma_text, _does(T, I, P)),
    "sd_pag": Kind(pictures.sd_pag, _sd, _does(T, I, P), alone=PAG),
    "sdxl_pag": Kind(pictures.sdxl_pag, _sd, _does(T, I, P), alone=PAG),
    "sd_controlnet_pag": Kind(pictures.sd_controlnet_pag, _sd, _does(T, I, P, TC, PC)),
    "sdxl_controlnet_pag": Kind(pictures.sdxl_controlnet_pag, _sd, _does(T, I, P, TC, IC)),
    "sd3_pag": Kind(pictures.sd3_pag, _sd, _does(T, I), alone=PAG),
    "pixart_pag": Kind(pictures.pixart_pag, lambda k: tiny.masked_text(k, 9, 32), _does(T), alone=PAG, extra=NO_BINS),
    "sana_pag": Kind(pictures.sana_pag, _sana, _does(T), alone=PAG, extra=NO_BINS),
    "hunyuan_dit_pag": Kind(pictures.hunyuan_dit_pag, more.hunyuan_dit_text, _does(T), alone=PAG, tolerance=1e-5),
}

KV = "its attention caches are objects of the request"
KINDS |= {
    "bria_fibo2": Kind(new.bria_fibo2, new.fibo2_text, _does(T, I)),
    "bria_fibo": Kind(new.bria_fibo, lambda k: {}, _does(T), spoken=new.fibo_speak, side=64),
    "bria_fibo_edit": Kind(new.bria_fibo_edit, lambda k: {}, _does(I, P), spoken=new.fibo_speak, side=64),
    "dreamlite": Kind(new.dreamlite, lambda k: {}, _does(T, I), spoken=new.dream_speak),
    "dreamlite_mobile": Kind(new.dreamlite_mobile, lambda k: {}, _does(T, I), spoken=new.dream_speak),
    "ernie": Kind(new.ernie, new.ernie_text, _does(T)),
    "glm": Kind(new.glm, new.glm_text, _does(T), alone=KV),
    "hidream": Kind(new.hidream, new.hidream_text, _does(T)),
    "deepfloyd": Kind(editing.deepfloyd, editing.if_text, _does(T, I, P), extra={"clean_caption": False}),
    "ideogram4": Kind(
        new.ideogram4, lambda k: {}, _does(T), spoken=new.ideogram_speak, extra={"max_sequence_length": 8}
    ),
    "kandinsky3": Kind(editing.kandinsky3, editing.kandinsky3_text, _does(T, I), made=16),
    "longcat": Kind(new.longcat, lambda k: {}, _does(T), spoken=new.longcat_speak),
    "nucleus": Kind(new.nucleus, new.nucleus_text, _does(T)),
    "prx_pixel": Kind(new.prx_pixel, lambda k: tiny.masked_text(k, 9, 32), _does(T)),
    "qwen21": Kind(new.qwen21, lambda k: {}, _does(T, I), spoken=new.qwen21_speak, side=64),
    "zimage_omni": Kind(new.zimage_omni, new.omni_text, _does(T), alone="it takes lists of lists of pictures"),
    "qwen_edit": Kind(
        editing.qwen_edit,
        lambda k: tiny.ragged_text(k, 5 + k),
        _does(I),
        patched={"calculate_dimensions": editing.one_size},
    ),
    "qwen_edit_plus": Kind(
        editing.qwen_edit_plus,
        lambda k: tiny.ragged_text(k, 5 + k),
        _does(I),
        patched={"calculate_dimensions": editing.one_size_plus},
    ),
    "flux2_klein_kv": Kind(
        editing.flux2_klein_kv, lambda k: {"prompt_embeds": tiny.noise(1, 12, 16, seed=k)}, _does(T, I), side=64
    ),
    "unclip": Kind(chains.unclip, _sd, _does(T), extra={"prior_num_inference_steps": 2}),
    "unclip_img2img": Kind(chains.unclip_img2img, _sd, _does(I)),
    "kandinsky22": Kind(chains.kandinsky22, _sd, _does(T, I), extra={"prior_num_inference_steps": 2}),
    "cascade": Kind(chains.cascade, _sd, _does(T), extra={"prior_num_inference_steps": 2}, side=128),
    "kolors": Kind(chains.kolors, lambda k: {}, _does(T, I), spoken=chains.kolors_speak),
    "kandinsky22_inpaint": Kind(chains.kandinsky22_inpaint, _sd, _does(P), extra={"prior_num_inference_steps": 2}),
    "kolors_pag": Kind(chains.kolors_pag, lambda k: {}, _does(T), spoken=chains.kolors_speak, alone=PAG),
    "depth2img": Kind(chains.depth2img, _sd, _does(I), dtype=torch.float32, tolerance=1e-5),
    "kandinsky5_i2i": Kind(chains.kandinsky5_i2i, rare.kandinsky5_text, _does(I), dtype=torch.float32, tolerance=1e-5),
    "joy_edit": Kind(editing.joy_edit, new.nucleus_text, _does(I)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_task_of_a_class_equals_single_runs_exactly_in_float64(name: str) -> None:
    kind = KINDS[name]
    check_pipeline_class(kind.pipeline_class)
    lab, difference = compare(kind)
    assert difference <= kind.tolerance
    own = sum(request.passes for request in lab.requests.values())
    assert (lab.runner.passes == own) == bool(kind.alone), kind.alone or "no passes shared"


@pytest.mark.parametrize("name", KINDS)
def test_a_card_describes_the_class(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    found = kind.variants()
    pipeline = next(v.pipeline for v in found.values() if type(v.pipeline) is kind.pipeline_class)
    check_pipeline(pipeline)
    card = describe(pipeline, found, tmp_path, "float64")
    assert set(card.kinds) == {wanted[0] for wanted in kind.tasks}
    assert ("control" in card.attachments) == any(controlled for _, controlled in kind.tasks)
    assert kind.side % card.size_multiple == 0 or card.size_multiple > 16
