"""The versions of the metadata trees: those of nova 34 (``nova/api/metadata/base.py``), and newer ones of AWS.

Within a tree, sorting the names as text puts them in the order of their dates ("1.0" before all), so versions are
compared as text.
"""

from __future__ import annotations

FOLSOM = "2012-08-10"
GRIZZLY = "2013-04-04"
HAVANA = "2013-10-17"
LIBERTY = "2015-10-15"
NEWTON_ONE = "2016-06-30"
NEWTON_TWO = "2016-10-06"
OCATA = "2017-02-22"
ROCKY = "2018-08-27"
VICTORIA = "2020-10-14"
EPOXY = "2025-04-04"

OPENSTACK_VERSIONS = (
    FOLSOM,
    GRIZZLY,
    HAVANA,
    LIBERTY,
    NEWTON_ONE,
    NEWTON_TWO,
    OCATA,
    ROCKY,
    VICTORIA,
    EPOXY,
)

EC2_VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
"""The versions of nova, which are all that the list of versions has."""

AWS_VERSIONS = ("2016-09-02", "2018-09-24", "2021-03-23")
"""The versions that cloud-init's Ec2 datasource tries, newest first, before it settles for 2009-04-04."""

LATEST = "latest"


def resolve(name: str, versions: tuple[str, ...]) -> str | None:
    """Return *name* where it is one of *versions*, their last one for "latest", None for any other name."""
    if name == LATEST:
        return versions[-1]
    return name if name in versions else None
