"""Run within a guest: cloud-init's own webhook reporting and phone_home to 169.254.169.254.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it.
"""

import logging
import sys
from types import SimpleNamespace
from typing import Any

from cloudinit.config import cc_phone_home
from cloudinit.reporting import events, handlers

SERVICE = "http://169.254.169.254/eve-meta/v1"


class Cloud:
    """What phone_home asks of its cloud."""

    paths = SimpleNamespace(instance_link="/nonexistent", run_dir="/nonexistent")

    def get_instance_id(self) -> str:
        return "i-1"

    def get_hostname(self, **_: Any) -> Any:
        return SimpleNamespace(hostname="guest.example.org")


def main() -> None:
    """Report a stage that succeeds with one within it that fails, and phone home."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    hook = handlers.WebHookHandler(f"{SERVICE}/report", timeout=5)
    hook.publish_event(events.ReportingEvent("start", "init-network", "searching for network datasources"))
    hook.publish_event(events.ReportingEvent("start", "init-network/\x1b[2Jconfig", "running config"))
    hook.publish_event(events.FinishReportingEvent("init-network/\x1b[2Jconfig", "ran", events.status.FAIL))
    hook.publish_event(events.FinishReportingEvent("init-network", "found", events.status.SUCCESS))
    hook.flush()
    config = {"phone_home": {"url": f"{SERVICE}/phone-home", "post": ["instance_id", "hostname", "fqdn"], "tries": 2}}
    # Since cloud-init 23 without a logger.
    more = (logging.getLogger(),) if "log" in cc_phone_home.handle.__annotations__ else ()
    cc_phone_home.handle("phone_home", config, Cloud(), *more, [])


if __name__ == "__main__":
    main()
