"""The console before a real server process with the built-in model, used as people use it."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from checks import fits, readable
from PIL import Image

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

PROMPT = "a red circle on a white background"
LONG = {"prompt": PROMPT, "steps": 200, "width": 128, "height": 128, "count": 4}
"""What still runs when it has been looked at from all sides, also on a fast machine."""


@pytest.fixture(scope="module")
def server(browser: Any, new_module_server: Callable[..., Any]) -> Iterator[Any]:
    """After the browser: without one there is nothing to start for."""
    started = new_module_server("--http", "0").start()
    yield started
    assert started.stop() == 0, started.log()


@pytest.fixture
def url(server: Any) -> str:
    found: str = server.urls[1]
    return found


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    """The same server for a program; no job of a test is there for the next."""
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client
        client.post("/v1/admin", json={"action": "cancel", "principal": "anonymous"})


def submit(api: httpx.Client, job: str, **params: Any) -> str:
    answer = api.post("/v1/jobs", json={"job": job, "params": LONG | params})
    assert answer.status_code == 201, answer.text
    return job


def steps(page: Any, job: str) -> int:
    """Those that are done, as its card says."""
    return int(page.locator(f".card[data-job={job}] .row span").first.inner_text().split("/")[0])


def picture(color: str = "navy") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_is_made_with_the_keyboard_alone(url: str, api: httpx.Client, open_page: Any) -> None:
    page = open_page(url)
    page.wait_for_selector("#console:not([hidden])")
    keyboard, focused = page.keyboard, lambda: page.evaluate("document.activeElement.id")
    for _ in range(30):
        keyboard.press("Tab")
        if focused() == "f-prompt":
            break
    assert focused() == "f-prompt"
    keyboard.type(PROMPT)
    for _ in range(3):  # over width and height
        keyboard.press("Tab")
    keyboard.type("6")
    for _ in range(2):
        keyboard.press("Tab")
    keyboard.type("11")
    keyboard.press("Control+Enter")
    shot = page.locator("#results .result[data-state=succeeded] a.shot")
    shot.locator("img").wait_for()
    expect(page.locator("#results a.shot img")).to_have_js_property("naturalWidth", 64)
    job = page.locator("#results .result").get_attribute("data-job")
    status = api.get(f"/v1/jobs/{job}").json()
    assert (status["params"]["steps"], status["seed"], status["params"]["prompt"]) == (6, 11, PROMPT)
    for _ in range(30):
        keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('shot')"):
            break
    with page.expect_download() as download:
        keyboard.press("Enter")
    assert download.value.path().read_bytes() == api.get(f"/v1/jobs/{job}/artifacts/0").content
    assert download.value.suggested_filename == f"{job}-0.png"
    page.reload()
    expect(page.locator("#results a.shot img")).to_have_js_property("naturalWidth", 64)


def test_requests_that_share_a_pass_are_in_one_frame_and_sharpen(url: str, api: httpx.Client, open_page: Any) -> None:
    page = open_page(url)
    jobs = [submit(api, f"shared-{number}", seed=number, count=1) for number in range(3)]
    expect(page.locator(".lane[data-hue] .card")).to_have_count(3)
    lane = page.locator(".lane[data-hue]").filter(has_text="3 requests").first
    lane.wait_for()
    assert lane.locator("h3").inner_text().startswith("Pass ")
    assert "rows" in lane.locator(".lane-head p").inner_text()
    shown = {card.get_attribute("data-job") for card in page.locator(".card").all()}
    assert shown == set(jobs)
    image = page.locator(".card[data-job=shared-0] img")
    page.wait_for_selector(".card[data-job=shared-0] img[src]")
    first, step = image.get_attribute("src"), steps(page, "shared-0")
    assert first.startswith("data:image/jpeg;base64,")
    expect(image).not_to_have_attribute("src", first)
    assert steps(page, "shared-0") >= step
    assert page.locator("#running-count").inner_text() == "3"
    assert page.locator("#strip svg").get_attribute("aria-label").startswith("Rows of the last ")
    expect(page.locator(".plot .value").nth(1)).to_have_text(re.compile(r"\d"))


def test_a_running_job_is_cancelled(url: str, api: httpx.Client, open_page: Any) -> None:
    page = open_page(url)
    submit(api, "unwanted")
    page.get_by_role("button", name="Cancel job unwanted").click()
    page.wait_for_selector(".card[data-job=unwanted]", state="detached")
    assert api.get("/v1/jobs/unwanted").json()["state"] == "cancelled"


def test_what_is_known_of_a_job_is_shown(url: str, api: httpx.Client, open_page: Any) -> None:
    page = open_page(url)
    submit(api, "looked-at", seed=5)
    page.get_by_role("button", name="Job looked-at of anonymous").click()
    facts = page.locator("#job-facts")
    facts.get_by_text(re.compile("^128 . 128$")).wait_for()
    assert PROMPT in facts.inner_text()
    page.wait_for_selector("#job-picture img[src]")
    readable(page)
    page.keyboard.press("Escape")
    page.wait_for_selector("#job", state="hidden")


def test_an_image_begins_with_another(url: str, api: httpx.Client, open_page: Any) -> None:
    page = open_page(url)
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_text("From an image, and more").click()
    page.get_by_label("Image to begin with").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": picture()}
    )
    page.get_by_label("Strength").fill("0.5")
    page.get_by_label("Count").fill("2")
    page.get_by_role("button", name="Make the image").click()
    expect(page.locator("#results a.shot img")).to_have_count(2)
    job = page.locator("#results .result").get_attribute("data-job")
    status = api.get(f"/v1/jobs/{job}").json()
    assert (status["kind"], status["params"]["strength"]) == ("img2img", 0.5)


def test_what_is_wrong_is_said_in_words_at_its_field(url: str, open_page: Any, complaints: Any) -> None:
    complaints.expected.append("400 (Bad Request)")
    page = open_page(url)
    go = page.get_by_role("button", name="Make the image")
    go.click()
    prompt = page.get_by_label("Prompt", exact=True)
    assert prompt.get_attribute("aria-invalid") == "true"
    prompt.fill(PROMPT)
    page.get_by_label("Width").fill("65")
    go.click()
    error = page.get_by_role("alert").filter(has_text="65 is not a multiple of 8")
    error.wait_for()
    assert page.get_by_label("Width").get_attribute("aria-describedby") == error.get_attribute("id")
    assert page.evaluate("document.activeElement.id") == "f-width"
    readable(page)
    page.get_by_label("Width").fill("64")
    assert error.count() == 0


def test_an_operator_pauses_and_resumes(url: str, open_page: Any, complaints: Any) -> None:
    complaints.expected.append("503 (Service Unavailable)")
    page = open_page(url)
    page.wait_for_selector("#link[data-kind=good]")
    page.keyboard.press("p")
    page.get_by_label("Reason, for people").fill("new disks")
    page.keyboard.press("Enter")
    page.get_by_text("New jobs are refused: new disks").wait_for()
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.keyboard.press("Control+Enter")
    page.locator("#form-error").get_by_text("The server is paused").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert page.locator("#banners").inner_text() == ""


def test_models_are_loaded_and_unloaded(url: str, open_page: Any) -> None:
    page = open_page(url)
    load, unload = (
        page.get_by_role("button", name=f"{word} pixwire/shapes-64", exact=True) for word in ("Load", "Unload")
    )
    unload.click()
    load.click()
    unload.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read_by_everybody(url: str, api: httpx.Client, open_page: Any, theme: str) -> None:
    for number in range(3):
        submit(api, f"{theme}-{number}", width=64 + 16 * number)
    page = open_page(url, color_scheme=theme)
    expect(page.locator(".card")).to_have_count(3)
    readable(page)
    tree = page.locator("body").aria_snapshot()
    for landmark in ("banner", "main", 'navigation "Parts of the page"', 'heading "pixwire" [level=1]'):
        assert landmark in tree
    for name in ("Submit", "Submitted here", "Running 3", "Waiting 0", "Failed lately 0", "Models", "Principals"):
        assert page.get_by_role("heading", name=name, exact=True).count() == 1
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (theme == "dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_label("Theme").select_option("light" if dark else "dark")
    assert page.evaluate(ground) != before
    readable(page)
    switched = page.evaluate(ground)
    page.reload()
    page.wait_for_selector("#console:not([hidden])")
    assert page.evaluate(ground) == switched


def test_nobody_scrolls_sideways(url: str, api: httpx.Client, open_page: Any) -> None:
    for number in range(2):
        submit(api, f"a-rather-long-name-of-a-job-{number}", width=64 + 32 * number)
    page = open_page(url)
    expect(page.locator(".card")).to_have_count(2)
    for width in (320, 390, 768, 1024, 1900, 3840):
        page.set_viewport_size({"width": width, "height": 900})
        assert fits(page), width


def test_shortcuts_hold_only_where_nobody_types_and_can_be_switched_off(url: str, open_page: Any) -> None:
    page = open_page(url)
    page.wait_for_selector("#link[data-kind=good]")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Shortcuts").wait_for()
    page.get_by_label("Shortcuts of a single key").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.id") != "f-prompt"
    page.get_by_role("button", name="Help and shortcuts").click()
    page.get_by_label("Shortcuts of a single key").check()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.id") == "f-prompt"
    page.keyboard.type("n? p")
    assert page.get_by_label("Prompt", exact=True).input_value() == "n? p"


def test_a_request_stays_in_its_frame_from_pass_to_pass(url: str, open_page: Any) -> None:
    page = open_page(url)
    found = page.evaluate(
        """async () => {
          const { Lanes } = await import("/console/lanes.js");
          const place = document.createElement("div");
          const lanes = new Lanes(place, { find: () => ({ rows: 8, ms: 1, requests: 4 }) }, {});
          const job = (name, pass, step = 1) => ({ job: name, principal: "p", step, steps: 9, pass });
          const cards = (lane) => [...lane.querySelectorAll("li")].map((card) => card.dataset.job);
          const one = (lane) => [lane.querySelector("h3").textContent, lane.dataset.hue, ...cards(lane)].join(" ");
          const shown = () => [...place.children].map(one);
          const draw = (...jobs) => (lanes.draw(jobs, () => false), shown());
          const first = draw(job("a", 1), job("b", 1), job("c", 2), job("d", undefined, 0));
          const card = place.querySelector("[data-job=a]");
          const second = draw(job("a", 3), job("b", 3), job("c", 4), job("d", 4));
          const third = draw(job("a", 5, 9), job("c", 5), job("d", 5));
          return { first, second, third, same: card === place.querySelector("[data-job=a]") || "moved",
            about: [...place.querySelectorAll(".lane-head p")].map((one) => one.textContent) };
        }"""
    )
    assert found["first"] == ["Pass 1 0 a b", "Pass 2 1 c", "Before the first step  d"]
    assert found["second"] == ["Pass 3 0 a b", "Pass 4 1 c d"]
    assert found["third"] == ["Pass 5 1 c d", "After the last step  a"]
    assert found["about"] == ["2 of 4 requests · 8 rows · 1 ms", "1 request"]
