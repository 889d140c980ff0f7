"""Run within a guest: let cloud-init's webhook reporting and phone_home post to 169.254.169.254.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it. The arguments are the guest's instance id, and a
file that it takes for its ``ssh_host_ed25519_key.pub``.
"""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

from cloudinit import helpers, util
from cloudinit.config import cc_phone_home
from cloudinit.reporting import events, handlers

SERVICE = "http://169.254.169.254/eve-meta/v1"

POST = ["instance_id", "hostname", "fqdn", "pub_key_rsa", "pub_key_ed25519"]

PHONE_HOME = {"url": f"{SERVICE}/phone-home", "post": POST, "tries": 2}


def main() -> None:
    """Report a stage that succeeds and has a nested stage that fails; then phone home."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    hook = handlers.WebHookHandler(f"{SERVICE}/report", timeout=5)
    hook.publish_event(events.ReportingEvent("start", "init-network", "searching for network datasources"))
    hook.publish_event(events.ReportingEvent("start", "init-network/\x1b[2Jconfig", "running config"))
    hook.publish_event(events.FinishReportingEvent("init-network/\x1b[2Jconfig", "ran", events.status.FAIL))
    hook.publish_event(events.FinishReportingEvent("init-network", "found", events.status.SUCCESS))
    hook.flush()
    instance_id, key = sys.argv[1:]
    # A guest of the lab has the host's files.
    read = "load_file" if hasattr(util, "load_file") else "load_text_file"
    setattr(util, read, lambda path: Path(key).read_text() if path.endswith("ed25519_key.pub") else "N/A")
    cloud = _cloud(instance_id)
    cc_phone_home.handle("phone_home", {"phone_home": PHONE_HOME}, cloud, logging.getLogger("phone_home"), [])


def _cloud(instance_id: str) -> SimpleNamespace:
    """Return the part of cloud-init's Cloud that phone_home uses."""
    return SimpleNamespace(
        paths=helpers.Paths({}),
        get_instance_id=lambda: instance_id,
        get_hostname=lambda fqdn=False: SimpleNamespace(hostname="guest.example.org" if fqdn else "guest"),
    )


if __name__ == "__main__":
    main()
