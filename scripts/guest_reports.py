"""Run within a guest: cloud-init's own webhook reporting to 169.254.169.254.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it.
"""

import logging
import sys

from cloudinit.reporting import events, handlers

SERVICE = "http://169.254.169.254/eve-meta/v1"


def main() -> None:
    """Report a stage that succeeds with one within it that fails."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    hook = handlers.WebHookHandler(f"{SERVICE}/report", timeout=5)
    hook.publish_event(events.ReportingEvent("start", "init-network", "searching for network datasources"))
    hook.publish_event(events.ReportingEvent("start", "init-network/\x1b[2Jconfig", "running config"))
    hook.publish_event(events.FinishReportingEvent("init-network/\x1b[2Jconfig", "ran", events.status.FAIL))
    hook.publish_event(events.FinishReportingEvent("init-network", "found", events.status.SUCCESS))
    hook.flush()


if __name__ == "__main__":
    main()
