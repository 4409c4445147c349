"""Images that are of use only for a while, and those that may wait."""

import os

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")


def in_time(client: pixwire.Client, prompt: str, seconds: float) -> pixwire.Image | None:
    """The image, if there is one within `seconds`. If not, nothing is computed for it any more."""
    try:
        return client.generate(prompt, priority="high", deadline=seconds, tags=["page"], seed=7)
    except pixwire.DeadlineExceeded as error:
        print(f"refused: an idle server would need {error.eta} s")  # known before anything is begun
    except pixwire.JobExpired as error:
        print(f"expired after {error.status.step} steps")  # the queue was longer than thought
    return None


def main() -> None:
    with pixwire.Client(URL) as client:
        # Tonight's work: it gives way to everything else. If it has not begun in eight hours, nobody wants it any more.
        night = client.submit("a blue heart", priority="low", queue_ttl=8 * 3600, run_timeout=600, tags=["night"])
        print(f"about {(night.status().eta_ms or 0) / 1000:.1f} s to go")

        image = in_time(client, "a red circle on a white background", 30.0)
        if image is not None:
            image.save("page.png")
        print("too late" if in_time(client, "a green star", 0.001) is None else "quick!")

        night.image().save("night.png")
        for job in client.jobs(tag="night", limit=1):
            print(job.job, job.state, job.priority)


if __name__ == "__main__":
    main()
