"""How often a training draws from each source of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keytrack_ros.errors import DataError, OptionError
from keytrack_ros.poses import FloatArray


def parsed_shares(text: str) -> dict[str, float]:
    """`SOURCE=SHARE,…` as a dictionary. Raises OptionError for what cannot be read, or is more than 1 in all."""
    shares = {}
    for item in filter(None, text.split(",")):
        source, _, value = item.partition("=")
        try:
            shares[source.strip()] = float(value)
        except ValueError:
            raise OptionError(f"shares: '{item}' is not SOURCE=SHARE, as in street=0.4") from None
    if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise OptionError(f"shares: {text}: each must be 0 to 1, all together at most 1")
    return shares


def source_shares(sources: Sequence[str], counts: Sequence[int], shares: Mapping[str, float]) -> FloatArray:
    """How often each of `sources`, which have so many examples, is drawn; sums to 1.

    Sources that `shares` does not name share what it leaves of 1 by their counts.

    Raises DataError for a share of a source that is not there.
    """
    unknown = sorted(set(shares) - set(sources))
    if unknown:
        raise DataError(f"shares: there is no source {', '.join(unknown)}; the data folder has {', '.join(sources)}")
    others = sum(count for source, count in zip(sources, counts, strict=True) if source not in shares)
    left = max(1 - sum(shares.values()), 0.0)
    result = np.array(
        [shares.get(source, left * count / max(others, 1)) for source, count in zip(sources, counts, strict=True)]
    )
    return np.asarray(result / result.sum())
