"""The SSH host keys in a guest's phone_home, on their path from a worker to the disk.

The law: keys count for the instance that the guest reads that it is, and for no other. What an earlier installation of
the machine sends late is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from eve_meta.documents.ec2_ids import instance_id
from eve_meta.state.host_keys import HostKeys, KeptKeys
from eve_meta.values.domain import Domain
from eve_meta.values.host_key import HostKey, read_host_key
from eve_meta.wire.boot_reports import HOST_KEY_FIELDS, BootReport


class ReportedHostKeys:
    """Keeps the keys of each phone_home.

    :param kept: where they are kept.
    :param wall: the wall clock, in seconds since 1970.
    """

    def __init__(self, kept: HostKeys, wall: Callable[[], float]) -> None:
        self._kept = kept
        self._wall = wall
        self.all = kept.all

    def phoned_home(self, domain: Domain, report: BootReport) -> None:
        """Keep the keys that the guest of *domain* has in *report*."""
        if report.fields.get("instance_id") not in (str(domain.guest_uuid), instance_id(domain)):
            return
        if keys := tuple(_keys(report.fields)):
            self._kept.keep(domain.instance_uuid, KeptKeys(domain.guest_uuid, self._wall(), keys))


def _keys(fields: Mapping[str, str]) -> Iterator[HostKey]:
    for name, beginning in HOST_KEY_FIELDS.items():
        with suppress(ValueError):  # none ("N/A"), or a hostile guest's
            key = read_host_key(fields.get(name, ""))
            if key.type.startswith(beginning):
                yield key
