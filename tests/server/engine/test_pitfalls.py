"""What goes wrong when requests share a pipeline, and the test that shows that it does not go wrong here.

`PITFALLS` is the table of docs/families.md, too. The tests that have no better place are below.
"""

import ast
import copy
import functools
import inspect
import queue
import threading
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from hub_lab import FAMILIES, QUIET, Lab, distance, plain, run_all
from picture_lab import alone, picture, task
from test_kinds import KINDS
from tiny_control import controlnet
from tiny_pipelines import BETAS

from pixwire_server.engine.api import Failed, FailureKind, Finished, GenerateTask, Submit
from pixwire_server.engine.arguments import build
from pixwire_server.engine.families import FAMILIES as CLASSES
from pixwire_server.engine.families import ONLY
from pixwire_server.engine.loader import load
from pixwire_server.engine.models import Models
from pixwire_server.engine.service import Service
from pixwire_server.engine.settings import ModelSettings
from pixwire_server.engine.variants import variants

pytestmark = QUIET

FOLDER = Path(__file__).parents[2]
ENGINE = "server/engine"
PITFALLS: tuple[tuple[str, str], ...] = (
    ("grad mode: pipelines switch it on and off in interleaved order",
     f"{ENGINE}/test_hub.py::test_gradients_are_off_for_everybody_and_the_callers_mode_survives"),
    ("autocast around a call of the model leaks into neighbours",
     f"{ENGINE}/test_pitfalls.py::test_autocast_never_reaches_the_neighbours"),
    ("tokenizers are not thread-safe",
     f"{ENGINE}/test_pitfalls.py::test_all_texts_are_tokenized_by_one_thread"),
    ("decoding after denoising starves decodes, which keep their places",
     f"{ENGINE}/test_hub.py::test_a_decode_waits_for_one_pass_of_the_others_at_most"),
    ("a place is held until the image is decoded",
     f"{ENGINE}/test_hub.py::test_a_place_is_left_with_the_last_step_before_the_image_is_decoded"),
    ("the first request runs to its end when not all fit into a pass",
     f"{ENGINE}/test_hub.py::test_passes_never_exceed_the_row_cap_and_everybody_gets_on"),
    ("a list of residuals is taken for a list of rows",
     f"{ENGINE}/test_pitfalls.py::test_as_many_residuals_as_rows_are_not_taken_for_rows"),
    ("positions of equal shape and different contents share a pass",
     f"{ENGINE}/test_hub_parity.py::test_equal_token_counts_of_different_shape_never_share"),
    ("the memory of a freed tensor comes back with other contents under the same digest",
     f"{ENGINE}/test_batch_key.py::test_a_fingerprint_follows_writes_and_keeps_its_tensor"),
    ("text without a mask is padded",
     f"{ENGINE}/test_pitfalls.py::test_texts_without_a_mask_share_by_length_only"),
    ("a mask that the pipeline dropped is missing in a padded pass",
     f"{ENGINE}/test_batch_key.py::test_masks_are_made_where_text_was_padded"),
    ("settings of a scheduler are lost when it is made anew from its configuration",
     f"{ENGINE}/test_pitfalls.py::test_a_request_gets_all_settings_of_the_scheduler"),
    ("a scheduler keeps the state of its last run",
     f"{ENGINE}/test_pitfalls.py::test_a_scheduler_that_was_used_before_makes_no_difference"),
    ("samplers of different state share a pass",
     f"{ENGINE}/test_hub_parity.py::test_samplers_of_every_kind_share_passes"),
    ("guidance components keep the state of a run",
     f"{ENGINE}/test_hub_parity.py::test_guidance_components_are_the_requests_own"),
    ("maybe_free_model_hooks resets the caches of all requests",
     f"{ENGINE}/test_pitfalls.py::test_the_end_of_a_request_resets_nothing_for_the_others"),
    ("cache contexts and moves of a module change it for everybody",
     f"{ENGINE}/test_batch_key.py::test_what_would_change_the_shared_module_does_nothing"),
    ("an interrupted pipeline still decodes",
     f"{ENGINE}/test_pitfalls.py::test_a_cancelled_request_decodes_nothing"),
    ("samplers make more steps than they were asked for",
     f"{ENGINE}/test_pitfalls.py::test_progress_ends_at_its_total_whatever_the_sampler"),
    ("many pipelines have no callback at the end of a step",
     f"{ENGINE}/test_pitfalls.py::test_steps_are_seen_where_a_pipeline_has_no_callback"),
    ("a running request cannot be saved: after a crash it begins anew",
     "server/jobs/test_supervisor.py::test_jobs_of_a_dead_engine_run_again_in_their_order"),
    ("pipelines replace the size by one of their own",
     f"{ENGINE}/test_pitfalls.py::test_editing_models_are_told_the_area"),
    ("sizes that are not in a pipeline's list",
     f"{ENGINE}/test_hub_parity.py::test_sizes_that_are_not_in_a_pipelines_list_are_made_all_the_same"),
    ("noise from the global random state",
     f"{ENGINE}/test_pitfalls.py::test_images_do_not_depend_on_the_global_random_state"),
    ("samplers with noise of their own",
     f"{ENGINE}/test_loader.py::test_a_sampler_that_ignores_seeds_is_refused"),
    ("attention processors are exchanged on the shared model",
     f"{ENGINE}/test_pitfalls.py::test_exchanged_attention_processors_are_gone_between_passes"),
    ("one pipeline object cannot serve two requests",
     f"{ENGINE}/test_hub.py::test_the_shared_pipeline_stays_as_it_was"),
    ("rows of a model depend on each other",
     f"{ENGINE}/test_pitfalls.py::test_models_whose_rows_depend_on_each_other_share_no_pass"),
    ("adapters change the model for everybody",
     f"{ENGINE}/test_adapters.py::test_requests_with_different_adapters_equal_single_runs_exactly_in_float64"),
    ("progress bars write from the engine",
     f"{ENGINE}/test_pitfalls.py::test_nothing_is_written_to_the_terminal"),
    ("NaN becomes a black image",
     f"{ENGINE}/test_pitfalls.py::test_numbers_that_are_not_finite_fail_their_task_only"),
)  # fmt: skip


@pytest.mark.parametrize(("pitfall", "where"), PITFALLS, ids=[where.rsplit(":", 1)[1] for _, where in PITFALLS])
def test_every_pitfall_has_its_test(pitfall: str, where: str) -> None:
    path, name = where.split("::")
    tree = ast.parse((FOLDER / path).read_text(encoding="utf-8"))
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in named, pitfall


SD15 = FAMILIES["sd15"]


def job(k: int, **changes: object) -> dict[str, Any]:
    return SD15.job(k, torch.float64, **changes)


@pytest.fixture
def pipeline() -> Any:
    return SD15.pipeline(torch.float64)


# ---------------------------------------------------------------------------------------------- modes and threads


def test_autocast_never_reaches_the_neighbours(pipeline: Any) -> None:
    class Casting(type(pipeline)):  # type: ignore[misc]
        def __call__(self, **arguments: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().__call__(**arguments)

    casting = copy.copy(pipeline)
    casting.__class__ = Casting
    lab = Lab(pipeline)
    lab.submit(0, job(0))
    lab.submit(1, job(1), pipeline=casting)
    lab.run()
    assert "inside autocast" in str(lab.requests[1].error)
    assert not torch.is_autocast_enabled("cpu")
    assert distance(lab.images(0), plain(pipeline, job(0))) == 0.0


def test_no_pipeline_that_is_served_calls_its_model_inside_autocast() -> None:
    found = set()
    for name in {name for family in CLASSES for name in family.classes().values()} | set(ONLY):
        source = inspect.getsource(inspect.getmodule(getattr(diffusers, name)))  # type: ignore[arg-type]
        if "autocast" not in source:
            continue
        entered = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.With) and _casts(node)]
        found |= {name for node in entered if any(_calls_model(inner) for inner in ast.walk(node))}
    assert found == set()


def _casts(node: ast.With) -> bool:
    return any("autocast" in ast.unparse(item.context_expr) for item in node.items)


def _calls_model(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"self.unet", "self.transformer", "self.vae.decode"}


def test_all_texts_are_tokenized_by_one_thread(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(ModelSettings(str(saved_model)))
    tokenizer, threads = type(model.pipeline.tokenizer), set()
    call = tokenizer.__call__

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        threads.add(threading.get_ident())
        return call(self, *args, **kwargs)

    monkeypatch.setattr(tokenizer, "__call__", watched)
    service = Service(Models.holding(model), queue.SimpleQueue().put, max_rows=16, exact=False)
    for handle in range(4):
        service.handle(Submit(GenerateTask(handle, f"cat {handle}", "dog", 32, 32, 2, 3.0, handle)))
    while service.tick():
        pass
    service.close()
    assert threads == {threading.get_ident()}


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    pipeline = SD15.build()
    found = variants(pipeline)
    lab = Lab(pipeline)
    for handle, variant in enumerate(found.values()):
        arguments = {name: value for name, value in SD15.job(handle).items() if name in variant.parameters}
        pictures = {"image": picture(32, 32, 1), "mask_image": picture(32, 32, 2).convert("L")}
        arguments |= {name: value for name, value in pictures.items() if name in variant.parameters}
        lab.submit(handle, arguments, pipeline=variant.pipeline)
    lab.run()
    assert [lab.images(handle).shape[0] for handle in range(len(found))] == [1] * len(found)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------------- rows


def test_as_many_residuals_as_rows_are_not_taken_for_rows() -> None:
    pipeline = controlnet().to(torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    sizes: set[tuple[int, int]] = set()
    forward = pipeline.controlnet.forward

    @functools.wraps(forward)
    def watched(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        answer = forward(sample, *args, **kwargs)
        sizes.add((len(sample), len(answer[0])))
        return answer

    made = lambda k: job(k, num_inference_steps=3, guidance_scale=4.0, image=picture(32, 32, k))  # noqa: E731
    alone_images = [plain(pipeline, made(k)) for k in (0, 1)]
    pipeline.controlnet.forward = watched
    lab = run_all(pipeline, [made(0), made(1)])
    assert (4, 4) in sizes, f"{sizes}: rows and residuals differ in number: the test shows nothing"
    for handle, image in enumerate(alone_images):
        assert distance(lab.images(handle), image) == 0.0


def test_texts_without_a_mask_share_by_length_only() -> None:
    family = FAMILIES["flux"]
    pipeline = family.pipeline(torch.float64)
    long: dict[str, object] = {"prompt_embeds": torch.ones(1, 20, 32), "pooled_prompt_embeds": torch.ones(1, 32)}

    def jobs() -> list[dict[str, Any]]:
        short = [family.job(k, torch.float64, num_inference_steps=3) for k in (0, 1)]
        return [*short, family.job(2, torch.float64, **long)]

    lab = run_all(pipeline, jobs())
    assert lab.requests[0].pass_share < lab.requests[0].passes
    assert lab.requests[2].pass_share == lab.requests[2].passes
    for handle, arguments in enumerate(jobs()):
        assert distance(lab.images(handle), plain(pipeline, arguments)) == 0.0


def test_models_whose_rows_depend_on_each_other_share_no_pass() -> None:
    kind = KINDS["sdxl_union"]
    found = kind.variants()
    wanted = ("txt2img", True)
    lab = Lab(found[wanted].pipeline)
    for k in (0, 1):
        lab.submit(k, task(kind, k, wanted, found[wanted]), pipeline=found[wanted].pipeline)
    lab.run()
    for k in (0, 1):
        assert distance(lab.images(k), alone(found[wanted], task(kind, k, wanted, found[wanted]))) == 0.0


# ---------------------------------------------------------------------------------------------- schedulers


def test_a_request_gets_all_settings_of_the_scheduler(pipeline: Any) -> None:
    seen: list[Any] = []
    settings = lambda scheduler: {n: v for n, v in scheduler.config.items() if n[0] != "_"}  # noqa: E731

    class Watching(Lab):
        def stepped(self, request: Any, moment: Any) -> None:
            seen.append((moment.scheduler is pattern, settings(moment.scheduler)))

    pattern = DDIMScheduler.from_config(
        {name: value for name, value in DDIMScheduler(**BETAS, clip_sample=False).config.items() if name[0] != "_"}
        | {"set_alpha_to_one": False, "timestep_spacing": "trailing"}
    )
    lab = Watching(pipeline)
    lab.submit(0, job(0), pattern)
    lab.run()
    assert seen[0] == (False, settings(pattern))


def test_a_scheduler_that_was_used_before_makes_no_difference(pipeline: Any) -> None:
    fresh = DPMSolverMultistepScheduler(**BETAS)
    expected = plain(pipeline, job(0), fresh)
    pipeline.scheduler = DPMSolverMultistepScheduler(**BETAS)
    plain(pipeline, job(1))  # leaves the state of its last step behind
    assert any(output is not None for output in pipeline.scheduler.model_outputs)
    lab = run_all(pipeline, [job(2), job(0)])
    assert distance(lab.images(1), expected) == 0.0


def test_progress_ends_at_its_total_whatever_the_sampler(pipeline: Any) -> None:
    lab = Lab(pipeline)
    lab.submit(0, job(0, num_inference_steps=4), HeunDiscreteScheduler(**BETAS))
    lab.run()
    steps = [event[2:] for event in lab.events if event[0] == "step"]
    assert steps == [(step, 7) for step in range(1, 8)]


def test_steps_are_seen_where_a_pipeline_has_no_callback() -> None:
    family = FAMILIES["pixart"]
    pipeline = family.pipeline()
    assert "callback_on_step_end" not in inspect.signature(type(pipeline).__call__).parameters
    lab = run_all(pipeline, [family.job(0)])
    assert [event[2] for event in lab.events if event[0] == "step"] == [1, 2, 3, 4]


# ---------------------------------------------------------------------------------------------- the shared model


def test_the_end_of_a_request_resets_nothing_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["flux"]
    pipeline = family.pipeline(torch.float64)
    resets: list[int] = []
    monkeypatch.setattr(type(pipeline.transformer), "_reset_stateful_cache", lambda self, *_: resets.append(1))
    lab = run_all(pipeline, [family.job(k, torch.float64, num_inference_steps=2 + k) for k in (0, 1)])
    assert [lab.requests[k].error for k in (0, 1)] == [None, None]
    assert resets == []
    plain(pipeline, family.job(0, torch.float64))
    assert resets, "the plain pipeline resets nothing either: the test shows nothing"


def test_a_cancelled_request_decodes_nothing(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = pipeline.vae.decode
    monkeypatch.setattr(pipeline.vae, "decode", lambda z, *a, **k: (decoded.append(len(z)), decode(z, *a, **k))[1])
    lab = Lab(pipeline)
    for k in (0, 1):
        lab.submit(k, job(k))
    lab.run_until(lambda: lab.requests[0].step == 2)
    lab.hub.cancel(0)
    lab.run()
    assert decoded == [1]


def test_exchanged_attention_processors_are_gone_between_passes() -> None:
    kind = KINDS["sd_pag"]
    wanted = ("txt2img", False)
    found = kind.variants()
    pipeline = found[wanted].pipeline
    before = dict(pipeline.unet.attn_processors)
    lab = Lab(pipeline)
    lab.submit(0, task(kind, 0, wanted, found[wanted]))
    lab.submit(1, task(kind, 1, wanted, found[wanted], steps=4))
    while lab.hub.tick():
        assert pipeline.unet.attn_processors == before
    assert lab.requests[0].overlays[0].processors, "nothing was exchanged"
    for k, changes in ((0, {}), (1, {"steps": 4})):
        expected = alone(found[wanted], task(kind, k, wanted, found[wanted], **changes))
        assert distance(lab.images(k), expected) == 0.0
    lab.submit(2, task(kind, 0, wanted, found[wanted]))
    lab.hub.tick()
    lab.hub.cancel(2)
    assert pipeline.unet.attn_processors == before


# ---------------------------------------------------------------------------------------------- seeds and sizes


@pytest.mark.parametrize("name", ["sd3_controlnet", "cogview4_control", "joy_edit", "qwen_controlnet_inpaint"])
def test_images_do_not_depend_on_the_global_random_state(name: str) -> None:
    kind = KINDS[name]
    found = kind.variants()
    wanted = next(wanted for wanted in found if type(found[wanted].pipeline) is kind.pipeline_class)
    variant = found[wanted]
    images = []
    for state in (1, 2):
        before = torch.manual_seed(state).get_state()
        lab = Lab(variant.pipeline)
        lab.submit(0, task(kind, 0, wanted, variant), pipeline=variant.pipeline)
        lab.submit(1, task(kind, 0, wanted, variant, seed=5, count=2), pipeline=variant.pipeline)
        lab.submit(2, task(kind, 0, wanted, variant, seed=6), pipeline=variant.pipeline)
        lab.run()
        images.append([lab.images(handle) for handle in range(3)])
        assert torch.equal(torch.get_rng_state(), before), "somebody drew from the global random state"
    for one, other in zip(*images, strict=True):
        assert torch.equal(one, other)
    assert distance(images[0][1][1:], images[0][2]) == 0.0, "image i is not that of the seed + i"


def test_editing_models_are_told_the_area() -> None:
    found = variants(FAMILIES["flux_kontext"].pipeline())
    made = build(GenerateTask(1, "", "", 64, 32, 2, 1.0, 1), found["txt2img", False], {})
    assert made["max_area"] == 64 * 32
    assert made["_auto_resize"] is False


# ---------------------------------------------------------------------------------------------- NaN


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_fail_their_task_only(saved_model: Path, value: float) -> None:
    model = load(ModelSettings(str(saved_model)))
    decode = model.pipeline.vae.decode

    def spoiled(z: torch.Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        pixels = decode(z, return_dict=False)[0].clone()
        pixels[-1, 0, 3, 3] = value  # of the last row of the pass
        return (pixels,)

    model.pipeline.vae.decode = spoiled
    reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
    service = Service(Models.holding(model), reports.put, max_rows=16, exact=False)
    for handle in (1, 2):
        service.handle(Submit(GenerateTask(handle, "cat", "", 32, 32, 2, 3.0, handle)))
    while service.tick():
        pass
    service.close()
    heard = [reports.get() for _ in range(reports.qsize())]
    assert [report.handle for report in heard if isinstance(report, Finished)] == [1]
    failed = [report for report in heard if isinstance(report, Failed)]
    assert [report.handle for report in failed] == [2]
    assert failed[0].kind == FailureKind.PIPELINE_ERROR
    assert "not finite (NaN or infinity)" in failed[0].message
