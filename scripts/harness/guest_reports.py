"""Run within a guest: let cloud-init's webhook reporting and phone_home post to 169.254.169.254.

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
    """Report a stage that succeeds and has a nested stage that fails; then phone home."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    hook = handlers.WebHookHandler(f"{SERVICE}/report", timeout=5)
    hook.publish_event(events.ReportingEvent("start", "init-network", "searching for network datasources"))
    hook.publish_event(events.ReportingEvent("start", "init-network/\x1b[2Jconfig", "running config"))
    hook.publish_event(events.FinishReportingEvent("init-network/\x1b[2Jconfig", "ran", events.status.FAIL))
    hook.publish_event(events.FinishReportingEvent("init-network", "found", events.status.SUCCESS))
    hook.flush()
    # phone_home logs what is missing, such as this guest's host keys, below the level configured above.
    cc_phone_home.handle("phone_home", {"phone_home": PHONE_HOME}, _cloud(), logging.getLogger("phone_home"), [])


def _cloud() -> SimpleNamespace:
    """Return the part of cloud-init's Cloud that phone_home uses."""
    return SimpleNamespace(
        paths=helpers.Paths({}),
        get_instance_id=lambda: "i-1",
        get_hostname=lambda fqdn=False: SimpleNamespace(hostname="guest.example.org" if fqdn else "guest"),
    )


if __name__ == "__main__":
    main()
