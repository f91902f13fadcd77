"""The few statistics that the suites need."""

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of `ordered` (sorted upwards) that a `share` (0…1) of it does not exceed; nan if it is empty."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_figures(latencies: Sequence[float]) -> dict[str, float]:
    """Seconds in; p50, p99 and maximum in milliseconds out."""
    ordered = sorted(latencies)
    return {
        f"{name}_ms": percentile(ordered, share) * 1000 for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
