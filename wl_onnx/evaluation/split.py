"""Parts of a data set: to calibrate on, to validate on, and fewer samples than there are."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from wl_onnx.evaluation.data import Feeds

__all__ = ["limit_feeds", "split_feeds", "warn_one_sided"]

_LOG = logging.getLogger(__name__)

# Labels of fewer samples are one-sided by chance.
_MIN_LABELS = 10


def split_feeds(feeds: Feeds, *, seed: int = 0, max_samples: int = 4000) -> tuple[Feeds, Feeds]:
    """Feeds to calibrate on and feeds to validate on, with no sample in both.

    Samples are dealt out in an order drawn from the seed, so that a data set sorted by label gives
    both halves all labels. Where samples are not known, batches go to one and the other in turn.
    A single batch that cannot be divided is both, with a warning.

    Args:
        feeds: the data set; its own order stays.
        seed: seed of the order.
        max_samples: most samples in each half, at least one batch; the rest is left out. Of
            batches whose samples are not known, most batches.

    Returns:
        Those to calibrate on, those to validate on.
    """
    if feeds.rows is None:
        chosen = _deal_batches(feeds, max_samples)
    else:
        order = np.random.default_rng(seed).permutation(feeds.num_samples)
        unit = feeds.rows.size if feeds.rows.is_fixed else 1
        most = max(unit, max_samples // unit * unit)
        first = min(feeds.num_samples // (2 * unit) * unit, most)
        second = min((feeds.num_samples - first) // unit * unit, most)
        chosen = (order[:first], order[first : first + second])
    if not len(chosen[0]):
        _LOG.warning(
            "the data is one batch, on which the model is both calibrated and validated: what it "
            "loses on other data may be more; give more samples"
        )
        return feeds, feeds
    _LOG.info(
        "%d %s to calibrate on and %d to validate on, of %d",
        len(chosen[0]), "batches" if feeds.rows is None else "samples", len(chosen[1]),
        feeds.num_samples,
    )  # fmt: skip
    calibration, validation = map(feeds.take, chosen)
    return calibration, validation


def limit_feeds(feeds: Feeds, max_samples: int, *, seed: int = 0) -> Feeds:
    """At most so many of the samples, at least one batch, as drawn from a seed.

    Args:
        feeds: the data set.
        max_samples: at least 1; of batches whose samples are not known, most batches.
        seed: of the draw.
    """
    unit = feeds.rows.size if feeds.rows is not None and feeds.rows.is_fixed else 1
    count = max(unit, max_samples // unit * unit)
    if feeds.num_samples <= count:
        return feeds
    order = np.random.default_rng(seed).permutation(feeds.num_samples)
    return feeds.take(np.sort(order[:count]))


def _deal_batches(
    feeds: Feeds, max_samples: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    counts = np.array(feeds.label_counts or [1] * len(feeds.batches), np.int64)
    indices = np.arange(len(counts))
    halves = []
    for half in (indices[::2], indices[1::2]):
        ends = np.cumsum(counts[half])
        halves.append(half[: max(1, int(np.searchsorted(ends, max_samples, "right")))])
    # The second half is the one that is empty where there is one batch.
    return (halves[0], halves[1]) if len(halves[1]) else (halves[1], halves[1])


def warn_one_sided(labels: npt.NDArray[np.int64] | None, num_classes: int | None = None) -> bool:
    """Warns of calibration data that shows the model little but a few of its classes.

    That is so where the entropy of the labels is below half of what as many samples of equally
    frequent classes have, or where one of more than two classes has more than half of the samples.

    Args:
        labels: classes of the samples, [n]; None, or fewer than 10, gives no warning.
        num_classes: classes that the model knows; by default the highest label and those below.

    Returns:
        Whether it warned.
    """
    if labels is None or len(labels) < _MIN_LABELS:
        return False
    classes, counts = np.unique(labels, return_counts=True)
    if num_classes is None:
        num_classes = int(max(classes[-1] + 1, 2))
    shares = counts / len(labels)
    entropy = -float((shares * np.log(shares)).sum())
    is_narrow = entropy < 0.5 * math.log(min(max(num_classes, 2), len(labels)))
    is_headed = num_classes > 2 and shares.max() > 0.5
    if is_narrow or is_headed:
        _LOG.warning(
            "the calibration data is one-sided: %d of %d classes, %.0f %% of its %d samples of "
            "class %d; shuffle the data before taking its first samples",
            len(classes), num_classes, 100 * shares.max(), len(labels), classes[counts.argmax()],
        )  # fmt: skip
    return bool(is_narrow or is_headed)
