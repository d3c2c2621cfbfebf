"""Everything about the emulated service that can be set."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

Shape = Literal[
    "A",
    "B",
    "C",
    "D-image_url",
    "D-url",
    "E-data",
    "E-link",
    "E-bare",
    "F-data",
    "F-link",
    "F-bare",
    "G-images-b64_json",
    "G-images-base64",
    "G-data-base64",
    "G-data-b64",
    "G-data-string",
]
Encoding = Literal["plain", "wrapped", "urlsafe", "unpadded"]
Format = Literal["JPEG", "PNG", "WEBP", "GIF", "AVIF"]
RetryAfter = Literal["seconds", "milliseconds", "date"]
FaultKind = Literal[
    "error",
    "drop-before",
    "drop-after",
    "cut-body",
    "stall",
    "garbage",
    "no-image",
    "bad-base64",
    "endless",
    "redirect",
]
ErrorBody = Literal["documented", "message", "error-text", "detail-text", "detail-list", "html", "empty"]

SHAPES: tuple[Shape, ...] = get_args(Shape)


def _one_of(name: str, value: object, allowed: object) -> None:
    if value not in get_args(allowed):
        raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {value!r}")


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and for which requests.

    Kinds: `error` (`status` with a `body` of some kind; not billed), `drop-before` (connection
    closed before any work), `drop-after` (work done and billed, then closed without a reply),
    `cut-body` (billed; half the body, then closed), `stall` (never answers), `garbage` (200, not
    JSON), `no-image` (200, a message and no picture), `bad-base64` (billed; letters that are not
    base64), `endless` (a body that never ends), `redirect` (307 to `location`).

    Every condition given must hold; with none, the fault strikes every request. `prompt` is a part
    of the prompt; of the requests that have it, `first` strikes the first so many, `every` each
    so-many-th, and `rate` that share of them, by the emulator's seed.
    """

    kind: FaultKind
    rate: float | None = None
    every: int | None = None
    first: int | None = None
    prompt: str | None = None
    status: int = 500
    body: ErrorBody = "documented"
    message: str = "Something went wrong"
    retry_after: float | None = None
    location: str = "/v1/elsewhere"

    def __post_init__(self) -> None:
        """Refuse what could never be meant."""
        _one_of("kind", self.kind, FaultKind)
        _one_of("body", self.body, ErrorBody)
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be from 0 to 1; got {self.rate!r}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be 1 or more; got {self.every!r}")


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """How the emulated service behaves; the defaults are a quick and faultless one.

    `api_key`: the one key that is accepted; None accepts any. `latency`: seconds a picture takes,
    or (least, most). `shape`, `encoding`, `format`: how a picture comes back; `details` adds `id`
    and `revised_prompt`. `honour_n`: `n` in the body gives that many pictures (1 to 4).
    `rate_limit`: (n, seconds) pairs, each a strict sliding window; `token_bucket`: (tokens a
    second, burst). `retry_after`: the header a 429 carries. `quota`: pictures until it is spent,
    then `quota_status` (402, 403 or 429). `faults`: the first that strikes is the one. `canned`:
    one picture, drawn once and padded to so many bytes, for every request. `seed`: of all chance.
    """

    api_key: str | None = None
    latency: float | tuple[float, float] = 0.0
    shape: Shape = "A"
    encoding: Encoding = "plain"
    format: Format = "JPEG"
    details: bool = False
    honour_n: bool = False
    rate_limit: Sequence[tuple[int, float]] = ()
    token_bucket: tuple[float, int] | None = None
    retry_after: RetryAfter | None = None
    quota: int | None = None
    quota_status: int = 429
    faults: Sequence[Fault] = ()
    canned: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what the emulator does not know how to do."""
        _one_of("shape", self.shape, Shape)
        _one_of("encoding", self.encoding, Encoding)
        _one_of("format", self.format, Format)
        if self.retry_after is not None:
            _one_of("retry_after", self.retry_after, RetryAfter)
        if self.quota_status not in (402, 403, 429):
            raise ValueError(f"quota_status must be 402, 403 or 429; got {self.quota_status!r}")
        for pair in self.rate_limit:
            if not _is_pair(pair) or pair[0] < 1:
                raise ValueError(f"rate_limit takes (n, seconds) pairs; got {self.rate_limit!r}")
        bucket = self.token_bucket
        if bucket is not None and (not _is_pair(bucket) or bucket[1] < 1):
            raise ValueError(f"token_bucket takes (tokens a second, burst); got {self.token_bucket!r}")
        if isinstance(self.faults, Fault) or not all(isinstance(each, Fault) for each in self.faults):
            raise ValueError(f"faults takes a list of Fault; got {self.faults!r}")
        least, most = self.latency_range()
        if not 0 <= least <= most:
            raise ValueError(f"latency must be seconds or (least, most); got {self.latency!r}")

    def latency_range(self) -> tuple[float, float]:
        """The least and the most seconds that a picture takes."""
        return self.latency if isinstance(self.latency, tuple) else (self.latency, self.latency)


def _is_pair(value: object) -> bool:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(each, int | float) and each > 0 for each in value)


def make_knobs(options: dict[str, object]) -> Knobs:
    """Knobs from names and values; a name that is none is a TypeError that lists them."""
    known = {field.name for field in fields(Knobs)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"no such knob: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return Knobs(**options)  # type: ignore[arg-type]  # checked by name here, by value there
