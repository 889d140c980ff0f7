"""Run within a guest: what scripts/guest_cloud_init.py prints, and the vendor data and files too."""

import json
import sys
import tempfile
from typing import Any

from cloudinit.sources.DataSourceOpenStack import DataSourceOpenStack

import guest_cloud_init


class Watched(DataSourceOpenStack):  # type: ignore[misc]  # cloud-init has no types
    """The datasource, which remembers itself."""

    latest: Any = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Watched.latest = self


def main() -> None:
    """Print what was found."""
    guest_cloud_init.DataSourceOpenStack = Watched  # type: ignore[attr-defined]  # it is imported there
    with tempfile.TemporaryDirectory() as folder:
        found = guest_cloud_init.find(folder, max_wait=20)
    if Watched.latest is not None and found["datasource"]:
        found["vendor_data"] = Watched.latest.vendordata_pure
        found["vendor_data2"] = Watched.latest.vendordata2_pure
        found["files"] = {path: content.decode() for path, content in (Watched.latest.files or {}).items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
