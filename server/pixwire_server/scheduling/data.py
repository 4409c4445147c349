"""What the admission decision looks at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job."""

    key: int
    """Names the job in the decision; has no meaning here."""
    alone: bool = False
    """Must share the engine with nobody: it was running each time an engine died and may be the cause."""


@dataclass(slots=True)  # not frozen: that would take three times as long to make, and one is made for each job
class Entry:
    """A queued job with all that decides its turn. Times are seconds of one monotonic clock, amounts are seconds.

    Never changed: who wants another one makes it with `replace`.
    """

    key: int
    """Its place in the order of arrival, over all jobs ever: names it, and breaks ties."""
    principal: str
    priority: int
    arrived: float
    due: float
    """See `ranking.due`."""
    cost: float
    """Device time it will take, its share of shared passes: what fair shares are counted in."""
    latency: float
    """Its shortest time from start to end, with the engine for itself."""
    deadline: float | None = None
    rows: int = 1
    """Rows of its denoiser passes."""
    memory: int = 0
    """Bytes it holds in the engine while it is resident."""
    shape: str = ""
    """Names what may share its passes, as far as that is known before it runs."""
    alone: bool = False
    start_by: float | None = None
    """After this moment it is not wanted any more if it has not been started."""
    ticket: object = None
    """Whatever the caller wants to find with the entry; has no meaning here."""


@dataclass(frozen=True, slots=True)
class Group:
    """The residents that share the next passes, and how urgent the most urgent of them is."""

    shape: str
    priority: int
    due: float
    missing: int
    """Rows that its passes could take in addition before they reach their knee."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine can take now."""

    places: int
    """Jobs that may be denoised at once; at least 1."""
    occupied: int = 0
    """Jobs that hold a denoise place."""
    in_flight: int = 0
    """Jobs the engine works on at all: `occupied` and those whose image is being decoded or encoded."""
    alone: bool = False
    """One of those in flight must share the engine with nobody."""
    memory: int | None = None
    """Bytes free for more jobs; None: no bound."""
    group: Group | None = None
    """Whom riders may join; None: nobody rides."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds an operator may set. None: no bound."""

    queued: int = 1000
    """Jobs that may wait."""
    queued_per_principal: int | None = None
    running_per_principal: int | None = None
    """Jobs of one principal that may hold a place at once."""
    urgent_places: int = 0
    """Places beyond `Capacity.places` for jobs that are more urgent than every class below them: they displace."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with the queue now. Both in the order in which it is to be done."""

    started: tuple[Entry, ...] = ()
    expired: tuple[Entry, ...] = ()
    """Their deadline cannot be met any more: nothing is computed for them."""

    @property
    def start(self) -> tuple[int, ...]:
        """The keys of those that start."""
        return tuple(entry.key for entry in self.started)

    @property
    def expire(self) -> tuple[int, ...]:
        """The keys of those that expire."""
        return tuple(entry.key for entry in self.expired)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no more job is taken now."""

    allowed: int
    """Jobs that may wait."""
    own: bool
    """Whether that is the bound of this principal; else it is that of all."""
    retry_after: float
    """Seconds after which there is likely to be room for one."""
