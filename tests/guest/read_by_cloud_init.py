"""Run within a guest: print the output of scripts/harness/guest_cloud_init.py, with the vendor data and files added."""

import json
import sys
import tempfile
from typing import Any

from harness import guest_cloud_init  # first: it decides whence cloud-init's imports come

# isort: split
from cloudinit import sources


def record_vendor_data() -> list[Any]:
    """Return the list to which each document of vendor data is appended before cloud-init converts the document.

    Debian 12's cloud-init (22.4.2) keeps the documents, Debian 13's (25.1.4) keeps only the result.
    """
    documents: list[Any] = []
    convert = sources.convert_vendordata

    def convert_and_record(data: Any, recurse: bool = True) -> Any:
        if recurse:  # not the string within a document, for which cloud-init calls it again
            documents.append(data)
        return convert(data, recurse)

    sources.convert_vendordata = convert_and_record
    return documents


def main() -> None:
    """Print what cloud-init found, as JSON."""
    vendor_data = record_vendor_data()
    with tempfile.TemporaryDirectory() as folder:
        source = guest_cloud_init.datasource("OpenStack", folder, max_wait=20)
        found = guest_cloud_init.find(source)
    if found["datasource"]:
        found["vendor_data"], found["vendor_data2"] = vendor_data
        found["files"] = {path: content.decode() for path, content in (source.files or {}).items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
