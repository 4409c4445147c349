"""The models of the GPU version are as large as the real ones, and what is wrong with a device is said."""

import sys
from collections.abc import Iterator

import pytest
import torch
from benchmarks.engine import lab, models, overhead, throughput
from typer.testing import CliRunner

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
SIZES = {"sd15-full": 860e6, "sdxl-full": 2_567e6, "flux-full": 11_901e6}
"""Parameters of the denoisers of SD 1.5, SDXL and FLUX.1-dev."""


@pytest.fixture(autouse=True)
def gradients() -> Iterator[None]:
    before = torch.is_grad_enabled()
    yield
    torch.set_grad_enabled(before)


@pytest.mark.parametrize("name", SIZES)
def test_models_are_as_large_as_the_real_ones(name: str) -> None:
    """On the device "meta" they have shapes and no weights."""
    model = models.make(name, "meta", "bfloat16")
    assert model.parameters == pytest.approx(SIZES[name], rel=0.01)
    assert {parameter.dtype for parameter in model.denoiser.parameters()} == {torch.bfloat16}
    assert model.side == (512 if name == "sd15-full" else 1024)
    rows = model.text(2)
    assert all(value.shape[0] == 2 and value.device.type == "meta" for value in rows.values())
    width = getattr(model.denoiser.config, "cross_attention_dim", None) or model.denoiser.config.joint_attention_dim
    assert rows["prompt_embeds"].shape[-1] == width


def test_every_model_that_is_measured_by_default_exists() -> None:
    assert set(models.names("cuda")) == set(SIZES)
    assert "built-in" in models.names("cpu")
    with pytest.raises(SystemExit, match="there is no model 'sd9'; there are built-in, "):
        models.make("sd9", "cpu")


def test_dtypes() -> None:
    assert models.dtype_of("cuda", "auto") is torch.bfloat16
    assert models.dtype_of("cpu", "auto") is torch.float32
    assert models.dtype_of("cuda", "float16") is torch.float16
    with pytest.raises(SystemExit, match="--dtype int8 is not known; there are auto, float32"):
        models.dtype_of("cuda", "int8")


@NO_GPU
@pytest.mark.parametrize("module", [overhead, throughput])
def test_without_a_gpu_cuda_is_refused_in_one_sentence(module: object) -> None:
    import typer

    app = typer.Typer()
    app.command()(module.main)  # type: ignore[attr-defined]
    result = CliRunner().invoke(app, ["--device", "cuda"])
    assert result.exit_code == 1
    assert "--device cuda: " in str(result.exception) + result.output
    with pytest.raises(SystemExit, match="install a CUDA build of torch on a GPU machine, or use --device cpu"):
        lab.check_device("cuda")
    with pytest.raises(SystemExit, match="--device tpu must be cpu or cuda"):
        lab.check_device("tpu")


def test_memory_is_the_most_of_all_runs_and_counted_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks, resets = iter([3 * 2**30, 5 * 2**30, 4 * 2**30]), []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: resets.append(1))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: next(peaks))
    watch = lab.Peaks("cuda")
    runs = watch.watched({"plain": lambda: 1.5})
    assert [runs["plain"]() for _ in range(3)] == [1.5] * 3
    assert len(resets) == 3
    assert watch.columns(peak="plain") == {"peak, GiB": 5.0}
    nothing = lab.Peaks("cpu")
    assert nothing.watched(runs)["plain"] is runs["plain"]
    assert nothing.columns(peak="plain") == {}


def test_what_does_not_fit_is_left_out_and_other_errors_are_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    lab.out_of_memory("cpu", "flux-full", torch.OutOfMemoryError("CUDA out of memory"))
    assert capsys.readouterr().out == "flux-full: out of memory, left out\n"
    with pytest.raises(RuntimeError, match="a defect"):
        lab.out_of_memory("cpu", "flux-full", RuntimeError("a defect"))


def test_a_model_that_does_not_fit_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(name: str, device: str, dtype: str) -> object:
        if name == "large":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return name

    row = {"model": "small", "images": 1, "engine / plain": lab.measure.Summary(1.0, 1.0, 1.0)}
    monkeypatch.setattr(models, "make", make)
    monkeypatch.setattr(overhead, "_row", lambda model, *_: dict(row, model=model))
    overhead.main(["large", "small"], [1], 1, 1)
    out = capsys.readouterr().out
    assert "large: out of memory, left out" in out
    assert "small" in out
    with pytest.raises(SystemExit, match="nothing fits"):
        overhead.main(["large"], [1], 1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="as the rest of the benchmarks")
def test_the_share_of_gaps_is_between_passes() -> None:
    module = torch.nn.Identity()
    gaps = throughput.Gaps(module, "cpu")
    times = iter([0.0, 1.0, 1.5, 2.0, 2.0, 4.0])
    gaps._mark = lambda: next(times)  # type: ignore[method-assign]
    for _ in range(3):
        module(torch.zeros(1))
    assert gaps.share() == pytest.approx(0.5 / 4.0)


def test_the_knee_is_where_doubling_gains_less_than_a_tenth() -> None:
    assert throughput.knee([(1, 1.0), (2, 1.8), (4, 1.9), (8, 3.0)]) == 2
    assert throughput.knee([(1, 1.0), (2, 2.0)]) == 2
