"""The longer examples as processes: killed and started again, with a browser that leaves, with many threads."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest

import pixwire

from .conftest import EXAMPLES, Program, Run, load, shows

PATIENCE = 60.0  # a bound for a hung test, never a measure


class TestWorker:
    @staticmethod
    def fill(folder: Path, steps: int) -> None:
        (folder / "in").mkdir(parents=True)
        for name in ("a", "b", "c"):
            order = {"prompt": "a red circle on a white background", "steps": steps, "seed": 7}
            (folder / "in" / f"{name}.json").write_text(json.dumps(order))

    def test_kill_and_start_again(self, here: Path, client: pixwire.Client) -> None:
        """kill -9 with jobs at the server; the next worker fetches them. Then SIGTERM."""
        spool = here / "spool"
        self.fill(spool, steps=60)
        with Program("worker", "--folder", str(spool)) as worker:
            assert worker.line() == "at work\n"
            while len(list(client.jobs(tag="spool"))) < 3:
                pass  # until the server has accepted them
        with Program("worker", "--folder", str(spool)) as worker:
            said = [worker.line() for _ in range(4)]
            assert [line[:3] for line in sorted(said[1:])] == ["a: ", "b: ", "c: "]
            worker.send_signal(signal.SIGTERM)
            assert worker.line() == "stopped; 0 jobs are left for the next start\n"
            assert worker.wait(PATIENCE) == 0
        jobs = list(client.jobs(tag="spool"))
        assert len(jobs) == 3, "no job was made twice"
        for name in ("a", "b", "c"):
            shows(spool / "out" / f"{name}.png", middle="red", corner="white")
        assert list((spool / "in").iterdir()) == []

    def test_sigterm_leaves_the_rest(self, here: Path, client: pixwire.Client) -> None:
        spool = here / "spool"
        self.fill(spool, steps=200)
        client.admin("pause")
        try:
            with Program("worker", "--folder", str(spool)) as worker:
                assert worker.line() == "at work\n"
                worker.send_signal(signal.SIGTERM)
                assert worker.line() == "stopped; 3 jobs are left for the next start\n"
                assert worker.wait(PATIENCE) == 0
        finally:
            client.admin("resume")

    def test_jobs_from_stdin(self, here: Path) -> None:
        lines = ['{"prompt": "a blue star", "steps": 4, "seed": 7}', '{"prompt": "a star", "steps": 999}', "no json"]
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "worker.py"), "--folder", "spool", "-"],
            input="\n".join([*lines, lines[0]]),
            text=True,
            capture_output=True,
            check=True,
        )
        assert done.stdout.count("image/png") == 1, "the same line is the same job"
        (image,) = (here / "spool" / "out").iterdir()
        shows(image, middle="blue")
        reasons = "".join(path.read_text() for path in (here / "spool" / "failed").glob("*.error"))
        assert "steps is 999" in reasons
        assert "is no job" in reasons


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestBatch:
    def test_resume(self, here: Path, run: Run, client: pixwire.Client, capsys: Any) -> None:
        """Killed after its first image, in the middle of a line of the manifest; started again."""
        prompts = {
            f"{colour}-{n}": f"a {colour} circle on a white background" for n in (1, 2) for colour in ("red", "blue")
        }
        with Path("prompts.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["name", "prompt", "seed"], *([n, p, ""] for n, p in prompts.items())])
        with Program("batch_csv", "prompts.csv", "out", "--concurrency", "2") as batch:
            assert batch.line() == "4 rows, 0 done before\n"
            first = Path(batch.line().strip())
        before = first.read_bytes()
        manifest = Path("out/manifest.csv")
        manifest.write_text(manifest.read_text() + "red-2,red-2.p")

        run("batch_csv", "prompts.csv", "out", exits=0)
        assert "4 rows, 0 done" not in capsys.readouterr().out
        assert first.read_bytes() == before
        rows = table(manifest)
        assert sorted(row["name"] for row in rows) == sorted(prompts)
        for row in rows:
            shows(Path("out") / row["file"], middle=row["name"].split("-")[0], corner="white")
        mine = [job.job for job in client.jobs() if job.job.startswith("csv-")]
        assert sorted(mine) == sorted(row["job"] for row in rows), "one job for each row"
        again = client.generate(rows[0]["prompt"], seed=int(rows[0]["seed"]))
        shown = pixwire.Image.open(Path("out") / rows[0]["file"])
        assert abs(again.to_numpy().astype(int) - shown.to_numpy()).max() <= 2, (
            "the seed in the manifest makes it again"
        )

    def test_a_row_that_fails(self, here: Path, run: Run) -> None:
        Path("p.csv").write_text("name,prompt,steps\nbad,a star,999\n")
        for tries in (1, 2):
            run("batch_csv", "p.csv", "out", exits=1)
            rows = table(Path("out/manifest.csv"))
            assert [row["error"][:12] for row in rows] == ["steps is 999"] * tries

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("name,prompt,colour\n", "unknown columns colour"),
            ("name,prompt\na,x\na,y\n", "line 3: the name 'a'"),
            ("name,prompt,steps\na,x,many\n", "line 2: invalid literal"),
            ("prompt\nx\n", "does not name the columns name"),
            ("name,prompt\na,x, y\n", "line 2: too many fields"),
        ],
    )
    def test_a_file_that_is_wrong(self, here: Path, text: str, why: str) -> None:
        (here / "p.csv").write_text(text)
        with pytest.raises(SystemExit, match=re.escape(why)):
            list(load("batch_csv").read(here / "p.csv"))

    def test_a_file_of_a_spreadsheet(self, here: Path) -> None:
        """It begins with a byte order mark."""
        (here / "p.csv").write_text("name,prompt\na,x\n", encoding="utf-8-sig")
        assert [name for name, _ in load("batch_csv").read(here / "p.csv")] == ["a"]


@pytest.fixture(scope="module")
def web(server: Any) -> Iterator[httpx.Client]:
    """The FastAPI example under uvicorn, in a process of its own."""
    command = [sys.executable, "-m", "uvicorn", "web_backend:app", "--port", "0"]
    environment = {**os.environ, "PIXWIRE_URL": server.url}
    with subprocess.Popen(command, cwd=EXAMPLES, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"running on (http://\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        with httpx.Client(base_url=found[1], timeout=PATIENCE) as browser:
            yield browser
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        rest.join()


class TestWebBackend:
    ORDER = {"prompt": "a red circle on a white background", "steps": 12, "seed": 7}  # noqa: RUF012

    def test_an_image(self, web: httpx.Client, here: Path) -> None:
        answer = web.post("/image", json=self.ORDER)
        assert (answer.status_code, answer.headers["content-type"], answer.headers["x-seed"]) == (200, "image/png", "7")
        (here / "image.png").write_bytes(answer.content)
        shows(here / "image.png", middle="red", corner="white")

    def test_a_job_with_its_events(self, web: httpx.Client, here: Path) -> None:
        answers = [web.post("/jobs", json=self.ORDER, headers={"Idempotency-Key": "one"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        job = answers[0].json()
        assert job == answers[1].json(), "the same key is the same job"
        events: list[str] = []
        with web.stream("GET", job["events"]) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    events.append(line.removeprefix("event: "))
                elif line.startswith("data: "):
                    json.loads(line.removeprefix("data: "))
        assert events[-1] == "end"
        assert set(events) <= {"state", "progress", "preview", "end"}
        (here / "image.png").write_bytes(web.get(job["image"]).content)
        shows(here / "image.png", middle="red", corner="white")
        assert web.delete(f"/jobs/{job['job']}").json() == {"state": "succeeded"}

    def test_previews_come(self, web: httpx.Client) -> None:
        job = web.post("/jobs", json={**self.ORDER, "steps": 50}).json()
        with web.stream("GET", job["events"]) as stream:
            assert "data:image/jpeg;base64," in stream.read().decode()

    def test_a_browser_that_leaves_cancels(self, web: httpx.Client, client: pixwire.Client) -> None:
        """The server is kept from starting the job, so it waits for sure when the browser leaves."""
        blockers = [client.submit("a star", steps=200, width=128, height=128, priority="high") for _ in range(4)]
        before = {job.job for job in client.jobs(tag="web")}
        with pytest.raises(httpx.ReadTimeout):
            web.post("/image", json={**self.ORDER, "steps": 50}, timeout=httpx.Timeout(PATIENCE, read=0.5))
        (job,) = {job.job for job in client.jobs(tag="web")} - before
        assert client.job(job).wait(timeout=PATIENCE).state == "cancelled"
        for blocker in blockers:
            blocker.cancel()
        assert {blocker.wait(timeout=PATIENCE).state for blocker in blockers} <= {"cancelled", "succeeded"}

    @pytest.mark.parametrize(
        ("method", "path", "status", "error"),
        [
            ("GET", "/jobs/nobody/image", 404, "JobNotFound"),
            ("GET", "/jobs/nobody/events", 404, "JobNotFound"),
            ("DELETE", "/jobs/nobody", 404, "JobNotFound"),
            ("GET", "/jobs/" + "x" * 200 + "/image", 422, "InvalidArgument"),
        ],
    )
    def test_errors_that_are_mapped(self, web: httpx.Client, method: str, path: str, status: int, error: str) -> None:
        answer = web.request(method, path)
        assert (answer.status_code, answer.json()["error"]) == (status, error)

    def test_a_conflict_and_a_pause(self, web: httpx.Client, client: pixwire.Client) -> None:
        web.post("/jobs", json=self.ORDER, headers={"Idempotency-Key": "two"})
        other = web.post("/jobs", json={**self.ORDER, "seed": 8}, headers={"Idempotency-Key": "two"})
        assert other.status_code == 409
        client.admin("pause", reason="new drivers")
        try:
            answer = web.post("/image", json=self.ORDER)
        finally:
            client.admin("resume")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "new drivers" in answer.json()["message"]

    def test_every_error_has_a_status(self) -> None:
        codes = load("web_backend").STATUS_CODES
        for kind in (getattr(pixwire, name) for name in pixwire.__all__):
            if isinstance(kind, type) and issubclass(kind, pixwire.PixwireError):
                assert any(base in codes for base in kind.__mro__)


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64  # connections that may wait to be accepted


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_wsgi(here: Path) -> None:
    """Sixteen threads of a plain WSGI server, one connection."""
    example = load("wsgi_app")
    with make_server("127.0.0.1", 0, example.app, Threads, Quiet) as wsgi:
        serving = threading.Thread(target=wsgi.serve_forever, daemon=True)
        serving.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{wsgi.server_port}", timeout=PATIENCE) as http:
            colours = ["red", "green", "blue"] * 5
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda colour: http.post("/", content=f"a {colour} circle"), colours))
            for colour, answer in zip(colours, answers, strict=True):
                (here / "image.png").write_bytes(answer.content)
                shows(here / "image.png", middle=colour)
            assert http.get(f"/{answers[0].headers['x-job']}").json()["state"] == "succeeded"
            assert http.get("/nobody").status_code == 404
            assert http.post("/", content=b"").status_code == 400
        wsgi.shutdown()
        serving.join()
    example.client().close()


async def test_notebook(server: Any, tmp_path: Path) -> None:
    """Cell by cell in IPython, as a kernel does it: nothing fails, and the images are shown."""
    pytest.importorskip("IPython", reason="the notebook needs IPython")
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells), "outputs are stripped"
    config = Config(HistoryManager={"enabled": False})
    shell = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path))
    shown: list[dict[str, Any]] = []
    said = ""
    for cell in cells:
        source = "".join(cell["source"])
        with capture_output() as captured:
            result = await shell.run_cell_async(source, transformed_cell=shell.transform_cell(source))
        assert result.success, (source, result.error_in_exec)
        said += captured.stdout
        shown += [output.data for output in captured.outputs]
        if isinstance(result.result, pixwire.Image):
            shown.append({"image/png": result.result._repr_png_()})
    kinds = [kind for data in shown for kind in ("image/png", "text/html") if kind in data]
    InteractiveShell.clear_instance()
    assert kinds.count("image/png") == 4
    assert "text/html" in kinds, "the bar"
    assert "(64, 64, 3) 7 12" in said
    shows(shell.user_ns["image"], middle="red", corner="blue")
    shows(shell.user_ns["made"]["a blue heart"], middle="blue")
