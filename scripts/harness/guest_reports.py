"""Run within a guest: cloud-init's own webhook reporting and phone_home to 169.254.169.254.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it.
"""

import logging
import sys
from types import SimpleNamespace

from cloudinit import helpers
from cloudinit.config import cc_phone_home
from cloudinit.reporting import events, handlers

SERVICE = "http://169.254.169.254/eve-meta/v1"

PHONE_HOME = {"url": f"{SERVICE}/phone-home", "post": ["instance_id", "hostname", "fqdn"], "tries": 2}


def main() -> None:
    """Report a stage that succeeds with one within it that fails."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    hook = handlers.WebHookHandler(f"{SERVICE}/report", timeout=5)
    hook.publish_event(events.ReportingEvent("start", "init-network", "searching for network datasources"))
    hook.publish_event(events.ReportingEvent("start", "init-network/\x1b[2Jconfig", "running config"))
    hook.publish_event(events.FinishReportingEvent("init-network/\x1b[2Jconfig", "ran", events.status.FAIL))
    hook.publish_event(events.FinishReportingEvent("init-network", "found", events.status.SUCCESS))
    hook.flush()
    # What is not there, as this guest's host keys are not, it says on a level that nobody asked for.
    cc_phone_home.handle("phone_home", {"phone_home": PHONE_HOME}, _cloud(), logging.getLogger("phone_home"), [])


def _cloud() -> SimpleNamespace:
    """As much of cloud-init's Cloud as phone_home asks."""
    return SimpleNamespace(
        paths=helpers.Paths({}),
        get_instance_id=lambda: "i-1",
        get_hostname=lambda fqdn=False: SimpleNamespace(hostname="guest.example.org" if fqdn else "guest"),
    )


if __name__ == "__main__":
    main()
