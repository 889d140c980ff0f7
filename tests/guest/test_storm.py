"""A thousand guests that boot at once: each gets all its own answers, and no connection hangs."""

from __future__ import annotations

import pytest

from benchmark import storm

pytestmark = pytest.mark.alone


def test_a_boot_storm() -> None:
    (row,) = storm.measure(1)
    assert (row["requests"], row["failures"], row["stuck"]) == (35_000, 0, 0), row
    # cloud-init waits for ten seconds for each answer, and then for a while before it retries.
    assert row["p99_ms"] < 5000, row
