"""A window that shows the image while it comes about. Needs tkinter, which many Pythons have, and pillow.

A window's toolkit wants its own thread, the main one. So the client works in another, and what it has to show goes
through a queue that the window looks into; the same holds for Qt (signals) and GTK (GLib.idle_add).
"""

import os
import queue
import sys
import threading
from collections.abc import Callable

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
LOOK_MS = 50

Shown = tuple[pixwire.Image | None, str]
"""A picture, if there is a new one, and what to say below it."""


class Painter:
    """Makes images in a thread of its own; `news` has what is to be shown."""

    def __init__(self, url: str) -> None:
        self.news: queue.SimpleQueue[Shown] = queue.SimpleQueue()
        self._client = pixwire.Client(url)
        self._job: pixwire.Job | None = None

    def start(self, prompt: str) -> threading.Thread:
        """Begins an image; the one before it is cancelled."""
        self.cancel()
        self._job = self._client.submit(prompt, steps=30)
        thread = threading.Thread(target=self._follow, args=(self._job,), daemon=True)
        thread.start()
        return thread

    def _follow(self, job: pixwire.Job) -> None:
        try:
            for event in job.events(previews=True):
                if isinstance(event, pixwire.Preview):
                    self.news.put((event.image, f"step {event.step} of {event.steps}"))
            image = job.image()
            self.news.put((image, f"done, seed {image.seed}"))
        except pixwire.PixwireError as error:
            self.news.put((None, str(error)))

    def cancel(self) -> None:
        if self._job is not None:
            self._job.cancel("the window wants another one")

    def close(self) -> None:
        self.cancel()
        self._client.close()


def main() -> None:
    import tkinter as tk

    from PIL import ImageTk

    window = tk.Tk()
    window.title("pixwire")
    entry = tk.Entry(window, width=50)
    entry.insert(0, sys.argv[1] if len(sys.argv) > 1 else "a red circle on a blue background")
    picture, text = tk.Label(window), tk.Label(window, text="Return makes the image")
    for widget in (entry, picture, text):
        widget.pack(padx=8, pady=4)
    painter = Painter(URL)
    photos: list[ImageTk.PhotoImage] = []  # kept here: Tk holds no reference to what it shows

    def look(again: Callable[..., object]) -> None:
        while not painter.news.empty():
            image, words = painter.news.get()
            text["text"] = words
            if image is not None:
                photos[:] = [ImageTk.PhotoImage(image.to_pil().resize((384, 384)))]
                picture["image"] = photos[0]
        again(LOOK_MS, look, again)

    entry.bind("<Return>", lambda _: painter.start(entry.get()))
    look(window.after)
    window.mainloop()
    painter.close()


if __name__ == "__main__":
    main()
