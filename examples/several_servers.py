"""One client, several servers: who works on what, and what happens when one is gone.

PIXWIRE_URLS=pixwires://one.example,pixwires://two.example python several_servers.py
"""

import os
from collections import Counter

import pixwire

URLS = os.environ.get("PIXWIRE_URLS", "pixwire://localhost:7499,pixwire://localhost:7500").split(",")


def main() -> None:
    calls: Counter[str] = Counter()

    def on_call(call: pixwire.CallRecord) -> None:
        if call.operation == "generate":
            calls[call.url] += 1

    def on_connection(reason: str | None) -> None:
        print(reason or "connected again")  # when the last connection is lost, and when there is one again

    with pixwire.Client(URLS, on_call=on_call, on_connection=on_connection) as client:
        prompts = [
            f"a {colour} {shape}" for shape in ("circle", "square", "star") for colour in ("red", "green", "blue")
        ]
        for outcome in client.generate_many(prompts, concurrency=4, seed=7):
            outcome.image.save(f"{outcome.index}.png")
    for url, number in sorted(calls.items()):
        print(f"{url}: {number} images")


if __name__ == "__main__":
    main()
