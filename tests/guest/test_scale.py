"""Hundreds of real taps, as many domain files, and a restart with all of them there.

scripts/bench measures how long that takes. tests/unit count what is done for one tap, and assert that it does not grow
with the number of taps.
"""

from __future__ import annotations

import pytest

from benchmark import scale

pytestmark = pytest.mark.alone


def test_hundreds_of_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "STEPS", (10, 300))
    few, many, restarted = scale.measure(1)
    assert (few["taps"], many["taps"], restarted["taps"]) == (10, 300, 300)
    assert restarted["answered_s"] <= restarted["known_s"]
