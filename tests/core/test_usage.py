"""What was used, summed up from the events."""

from __future__ import annotations

import pytest

from asi_image_async import ImageRequest
from asi_image_async.core.usage import Usage
from asi_image_async.events import RequestSucceeded


@pytest.mark.parametrize(
    ("latencies", "quantile", "seconds"),
    [
        ([1, 2], 0.5, 1),
        ([3, 1, 2], 0.5, 2),
        (range(1, 11), 0.5, 5),
        (range(1, 101), 0.95, 95),
        ([7], 0.99, 7),
    ],
)
def test_a_latency_is_what_that_share_of_the_requests_did_not_go_over(
    latencies: list[float], quantile: float, seconds: float
) -> None:
    usage = Usage()
    for latency in latencies:
        usage.note(RequestSucceeded(ImageRequest(prompt="a cat"), 1, latency, 100, 1))
    assert usage.latency(quantile) == seconds
