"""Run within a guest: print what scripts/harness/guest_cloud_init.py does, and the vendor data and files too."""

import json
import sys
import tempfile

from harness import guest_cloud_init


def main() -> None:
    """Print what cloud-init found, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        source = guest_cloud_init.datasource("OpenStack", folder, max_wait=20)
        found = guest_cloud_init.find(source)
    if found["datasource"]:
        found["vendor_data"] = source.vendordata_pure
        found["vendor_data2"] = source.vendordata2_pure
        found["files"] = {path: content.decode() for path, content in (source.files or {}).items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
