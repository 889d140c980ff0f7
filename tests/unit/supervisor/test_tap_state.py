"""What the supervisor keeps of one tap's guest."""

from __future__ import annotations

from uuid import UUID

from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.tap_state import MAX_REPORTS, TapState
from eve_meta.values.domain import Domain
from eve_meta.wire.boot_reports import BootReport, What


def test_the_latest_reports_of_each_tap_are_kept() -> None:
    domain = Domain(uuid=UUID(int=1))
    state = TapState(Tap("vnet1", 7, 1, 10.0, True), domain)
    for number in range(MAX_REPORTS + 10):
        state.add_report(0, BootReport(at=20.0, what=What.START, name=str(number)), 50.0)
    state.add_report(0, BootReport(at=20.0, what=What.PHONE_HOME, fields={"fqdn": "x"}), 50.0)
    for generation, at in ((1, 20.0), (0, 9.0), (0, 51.0)):
        state.add_report(generation, BootReport(at=at, what=What.START, name="wrong"), 50.0)
    assert [report.name for report in state.reports] == [str(number) for number in range(10, MAX_REPORTS + 10)]
    assert state.phone_home is not None
    state.assign(None, 60.0)
    assert [len(state.reports), state.phone_home] == [0, None]
