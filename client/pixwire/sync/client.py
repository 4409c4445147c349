"""`import pixwire` for threads: connect, ask for images, follow and cancel jobs.

    with pixwire.Client("pixwire://localhost") as client:
        image = client.generate("a red circle on a blue background", seed=7)
        image.save("circle.png")

The same calls in the same order as `AsyncClient`. One client may be used from any number of threads at once, which
share its connection: make one for the whole program. It survives a fork (a server that loads the application first
and forks then): the child makes a connection of its own. SPEC 7, 9.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from time import monotonic as now
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack, overload

from pixwire_protocol.messages import Welcome
from pixwire_protocol.status import JobSummary, ModelInfo

from ..arguments import EventCallbacks, GenerateArguments, SubmitArguments, check_job_id, spelled_out
from ..core import requests
from ..core.auth import TokenSource
from ..core.calls import MAX_IMAGE_BYTES
from ..core.drafts import draft
from ..core.lease import Lease
from ..core.listing import Listing, Source
from ..core.many import CONCURRENCY, Outcome
from ..core.observe import CallListener
from ..core.plan import ConnectionListener, OnDisconnect, Plan, make_plan, several
from ..core.policy import PATIENCE
from ..errors import PixwireError
from ..events import Preview, Progress, StateChange
from ..image import Image
from ..net.tls import Path, TlsOptions
from ..url import DEFAULT_URL
from .job import Job
from .link import Link
from .many import Batch
from .reading import read

if TYPE_CHECKING:
    from ssl import SSLContext

    from .several import AnyLink


class Client:
    """A client of a server, or of several; use it in a `with`, or `close` it.

    When the connection breaks the client makes another one by itself. Calls under way go on there, as if nothing had
    happened: jobs live in the server. With `on_disconnect="fail"` they raise ConnectionLost instead.

    Every call takes `timeout`, in seconds, None for no limit, and raises RequestTimeout when it has passed: that and
    Ctrl-C end the waiting, and nothing else.

    Args:
        url: `pixwires://host[:port]` (TLS), `pixwire://host[:port]` or `pixwire+unix:///path/to/socket`. A list of them
            spreads the calls over several servers: see `docs/clusters.md`.
        token: for a server that asks who we are. A function is asked at every connect and before the token expires, in
            a thread of its own. In cleartext a token is sent to loopback and Unix sockets only, unless
            `allow_insecure_auth`.
        allow_insecure_auth: send the token in cleartext to other machines as well, where others may read it.
        cafile: certificates (PEM) to trust instead of the system's.
        certfile: a certificate (PEM, with its chain) to show to the server.
        keyfile: its private key (PEM); None: it is in `certfile`, too.
        ssl: an `ssl.SSLContext` instead of these three; its ALPN names become PXW's.
        on_disconnect: what calls do while there is no connection: "wait" for the next one and go on there, at most
            `patience` seconds and their own timeout; or "fail" with ConnectionLost. The client reconnects either way.
        patience: seconds that a call waits for the next connection.
        on_connection: called with a reason when the connection (of several, the last one) is lost, and with None when
            there is one again, in the thread of the connections: it must neither block nor call the client.
        timeout: seconds for making a connection: transport, TLS, handshake and authentication together.
        stream_window: how many bytes of images the server may send ahead, for each call. A larger one helps when the
            round trip is long: throughput is at most window / round trip. SPEC 7.4.
        connection_window: the same for all calls together.
        max_image_bytes: a larger image is not received; the call that waits for it fails with ProtocolViolation.
        connections: how many connections to make to each server. One is enough but for many large images at once.
        on_call: gets a `pixwire.CallRecord` when a call ends, for metrics; it must not block.

    Raises:
        InvalidURL: the URL cannot be understood.
        InvalidArgument: a window out of range, a file that cannot be used, a token in cleartext.
        ConnectError: nobody listens, the certificate is not accepted, the handshake failed or took too long. SPEC 6.
        AuthRequired, AuthFailed, AuthExpired: the server wants a token, or another one.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        token: TokenSource | None = None,
        allow_insecure_auth: bool = False,
        ssl: "SSLContext | None" = None,
        cafile: Path | None = None,
        certfile: Path | None = None,
        keyfile: Path | None = None,
        on_disconnect: OnDisconnect = "wait",
        patience: float = PATIENCE,
        on_connection: ConnectionListener | None = None,
        timeout: float = 10.0,
        stream_window: int = 1 << 20,
        connection_window: int = 4 << 20,
        max_image_bytes: int = MAX_IMAGE_BYTES,
        connections: int = 1,
        on_call: CallListener | None = None,
    ) -> None:
        tls = TlsOptions(ssl, cafile, certfile, keyfile)
        windows = stream_window, connection_window, max_image_bytes
        behaviour = on_disconnect, patience, on_connection, timeout
        how = token, allow_insecure_auth, tls, *behaviour, *windows, on_call
        self._link = _link(several(url, connections, lambda one: make_plan(one, *how)))
        self._lease = Lease(self._link)
        self._link.open()

    @overload
    def generate(self, prompt: str, *, count: None = None, **arguments: Unpack[GenerateArguments]) -> Image: ...

    @overload
    def generate(self, prompt: str, *, count: int, **arguments: Unpack[GenerateArguments]) -> list[Image]: ...

    @spelled_out(GenerateArguments)
    def generate(
        self,
        prompt: str,
        *,
        count: int | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_preview: Callable[[Preview], object] | None = None,
        on_state: Callable[[StateChange], object] | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        **arguments: Unpack[SubmitArguments],
    ) -> Image | list[Image]:
        """Makes images, in one round trip: one `Image`, or, when `count` is given (even 1), a list of that many.

        Image i of a list is what `seed + i` gives alone. Options, all of them the server's choice when left out:
        negative_prompt, width, height (pixels), steps, guidance_scale, seed, model, media_type, strength (of the
        change to `image`, above 0 to 1), control_scale, ip_scale (how closely to follow `style`, 0 to 2), adapters
        (LoRAs that the server has: names, or pairs of name and weight).

        `image` is painted over; with `mask`, only where that is white. `control` guides the composition, `style` the
        look. Each is a path, bytes, a binary file, a `pixwire.Image`, a PIL image or a numpy array.

        How the job is treated: `priority` ("low", "normal", "high"), `deadline` (seconds from its acceptance to its
        end), `queue_ttl` (seconds till it starts), `run_timeout` (seconds for each run) and `tags` (up to eight
        labels, to list it by). A job that misses one of these ends as JobExpired.

        on_state, on_progress and on_preview get each `StateChange`, `Progress` and `Preview`, on_upload the bytes of
        the images sent so far, and in all. They are called in this thread, while it waits; what one raises comes out
        of this call. While one is busy, only the latest progress is kept for it. `job_id` makes the call repeatable:
        the same id and parameters attach to the job that exists. `traceparent`, `tracestate`: the trace the job
        belongs to (W3C Trace Context; see `pixwire.arguments.Trace`).

        Ctrl-C and timeout (seconds) end the waiting, not the job: it goes on at the server under its id (see
        `Job.cancel`). While images are being sent there is no job yet, and nothing is left of it.

        Raises:
            InvalidArgument: mostly before anything is sent; names field, value and what is allowed.
            JobFailed, JobCancelled, JobExpired: the job ended without an image. JobLost: the server forgot it.
            RequestFailed: the server refused, e.g. QueueFull with `retry_after_ms`, or DeadlineExceeded.
            RequestTimeout, ConnectionLost: with the id of the job, which may be going on.
        """
        since = now()
        callbacks = EventCallbacks(on_progress, on_preview, on_state, on_upload)
        order = read(draft(prompt, count, **arguments), timeout)
        made = self._link.perform(requests.generate(order, callbacks.want), timeout, callbacks, since)
        return made[0] if count is None else made

    @spelled_out(SubmitArguments)
    def generate_many(
        self,
        prompts: Iterable[str | Mapping[str, Any]],
        *,
        concurrency: int = CONCURRENCY,
        timeout: float | None = None,
        **arguments: Unpack[SubmitArguments],
    ) -> Generator[Outcome, None, None]:
        """Makes many images, at most `concurrency` at a time, and yields an `Outcome` for each as soon as it is known:
        `for outcome in client.generate_many(prompts, steps=20): outcome.image.save(f"{outcome.index}.png")`.

        Args:
            prompts: prompts, or mappings with arguments of `generate` for one request each; taken as they are needed,
                so it may be endless.
            concurrency: requests under way at once. The server shares its passes among them.
            timeout: seconds for each request, the waits for a full server included.
            arguments: of `generate`, for all of them.

        What fails is an Outcome with an `error`, and the others go on. When the server is full, a request is made again
        as soon as the server wants to see it. Leaving the loop early ends the waiting; jobs that were accepted go on.

        Raises InvalidArgument for `concurrency`, TypeError for arguments that do not exist.
        """
        yield from Batch(self._link, prompts, concurrency, timeout, arguments).run()

    @spelled_out(SubmitArguments)
    def submit(
        self,
        prompt: str,
        *,
        count: int | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        timeout: float | None = 30.0,
        **arguments: Unpack[SubmitArguments],
    ) -> Job:
        """Hands a job to the server and returns once it is on the server's disk: from then on it survives a crash
        there and here.

        Parameters as for `generate`; the time to read and to send the images counts. Ctrl-C or a timeout leaves it open
        whether the job was accepted; submitting again under the same `job_id` is safe and attaches to it.

        Raises: InvalidArgument, JobConflict (the id belongs to other parameters), DeadlineExceeded, CapacityError,
        RequestTimeout, ConnectionLost.
        """
        since = now()
        order = read(draft(prompt, count, **arguments), timeout)
        call = requests.submit(order)
        listener = None if on_upload is None else EventCallbacks(on_upload=on_upload)
        status = self._link.perform(call, timeout, listener, since)
        return Job(self._lease, order.job, status, call.known_at)

    def job(self, job_id: str) -> Job:
        """A handle on a job that was submitted earlier, here or elsewhere. Asks nothing: an unknown id shows at the
        first use.

        Raises InvalidArgument when this cannot be a job id.
        """
        return Job(self._lease, check_job_id(job_id))

    def models(self, *, timeout: float | None = 30.0) -> tuple[ModelInfo, ...]:
        """The models that the server has, with what each can do; `default` marks the one that is used unasked."""
        return self._link.perform(requests.models(), timeout)

    def jobs(
        self,
        *,
        states: Iterable[str] = (),
        tag: str | None = None,
        limit: int | None = None,
        timeout: float | None = 30.0,
    ) -> Iterator[JobSummary]:
        """The caller's jobs, newest first: `for job in client.jobs(states=["running"], limit=10):`.

        Args:
            states: only jobs in one of these; none: all.
            tag: only jobs that were submitted with this among their `tags`.
            limit: at most so many in all; None: every one. They are asked for in pages while the iteration goes on,
                so that a job which ends meanwhile may be missed or told with its old state.
            timeout: seconds for each page.
        """
        listing = Listing(self._link.homes, limit, tuple(states), tag)
        while (found := listing.next()) is not None:
            if isinstance(found, Source):
                listing.feed(found, self._link.perform(listing.request(found), timeout))
            else:
                yield found

    def admin(self, action: str, *, timeout: float | None = 30.0, **fields: Any) -> dict[str, Any]:
        """Looks into the server or changes what it does, and returns the body of its answer (SPEC 8.19).

        Actions: overview (limit), pause (reason), resume, drain, cancel (job, principal), requeue (job, principal),
        load, unload, remove_model (model), add_model (model, path). Raises Forbidden without the role "admin" (see
        `roles`), InvalidArgument for an action or a field that does not exist.
        """
        return self._link.perform(requests.admin(action, fields, len(self._link.homes)), timeout)

    def ping(self, *, timeout: float | None = 10.0) -> float:
        """The round trip to the server's loop and back, in seconds, as the thread of the connections sees it.

        Raises RequestTimeout, ConnectionLost (a ping is about one connection: it does not survive it), and RateLimited
        for more pings than the server wants (7 in 50 s, mostly).
        """
        return self._link.perform(requests.ping(), timeout)

    def close(self) -> None:
        """Closes the connection; calls under way raise ConnectionLost, jobs go on. Closing twice is fine.

        Ctrl-C stops the wait for the last bytes to leave, not the closing.
        """
        self._link.close()

    @property
    def server(self) -> Welcome:
        """What the server said about itself when it was connected last: agent, server_id, epoch, features, limits."""
        welcome = self._link.session.welcome
        if welcome is None:
            raise PixwireError("the client was never connected")
        return welcome

    @property
    def principal(self) -> str | None:
        """Whose jobs the client sees: the name that the server has for us. None when it does not say."""
        return self._link.session.principal

    @property
    def roles(self) -> tuple[str, ...]:
        """What the server lets us do beside our own jobs: "admin" or nothing."""
        return self._link.session.roles

    @property
    def url(self) -> str:
        """The URL this client was connected with; several are joined by commas."""
        return self._link.url

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment; if not, the client is making one, unless it is closed. False in
        a process that was just forked, until the first call."""
        return self._link.connected

    @property
    def closed(self) -> bool:
        """Whether the client is over for good: closed, or refused by the server."""
        return self._link.closed

    @property
    def bytes_received(self) -> int:
        """All bytes that came from the server, over all connections of this process."""
        return self._link.bytes_received

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self.closed else "" if self.connected else " not connected"
        return f"<pixwire.Client {self.url}{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a pixwire.Client cannot be pickled: make one in each process, or let the process be forked")


def _link(plans: tuple[Plan, ...]) -> "AnyLink":
    if len(plans) == 1:
        return Link(plans[0])
    from .several import Several

    return Several(plans)
