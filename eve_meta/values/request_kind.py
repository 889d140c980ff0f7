"""The kinds of requests, a closed set by which requests are counted, shown and audited.

No kind holds a byte that a guest sent. :mod:`eve_meta.documents.paths` has the kind of each path, and
:mod:`eve_meta.wire.requests` carries kinds from the workers to the supervisor: neither room may import the other, so
the kinds are values.
"""

from __future__ import annotations

import enum


class RequestKind(str, enum.Enum):
    """The kind of a guest's request; the value is its name in metrics and in the audit."""

    # Enum's own hash is a Python function, which would run for each answer.
    __hash__ = str.__hash__

    OPENSTACK = "openstack"
    """A listing below ``/openstack``, or a path there that leads to no document."""

    META_DATA = "openstack/meta_data.json"
    USER_DATA = "openstack/user_data"
    VENDOR_DATA = "openstack/vendor_data.json"
    VENDOR_DATA2 = "openstack/vendor_data2.json"
    NETWORK_DATA = "openstack/network_data.json"
    CONTENT = "openstack/content"
    PASSWORD = "password"
    """``/openstack/<version>/password``, read or posted."""

    EC2 = "ec2"
    """A listing of the EC2 tree."""

    EC2_META_DATA = "ec2/meta-data"
    EC2_USER_DATA = "ec2/user-data"
    EC2_DYNAMIC = "ec2/dynamic"
    TOKEN = "token"
    """``/latest/api/token``."""

    NOCLOUD = "nocloud"
    """A listing below ``/nocloud``, or a path there that leads to no document."""

    NOCLOUD_META_DATA = "nocloud/meta-data"
    NOCLOUD_USER_DATA = "nocloud/user-data"
    NOCLOUD_VENDOR_DATA = "nocloud/vendor-data"
    NOCLOUD_NETWORK_CONFIG = "nocloud/network-config"
    EVE = "eve"
    """EVE-OS's own endpoints."""

    REPORT = "report"
    """``/eve-meta/v1/report``, which cloud-init's webhook reporting posts to."""

    PHONE_HOME = "phone-home"
    """``/eve-meta/v1/phone-home``, which cloud-init's phone_home posts to."""

    OTHER = "other"
    """Any other path."""

    UNREAD = "unread"
    """No request that a worker takes: it was refused before its path was read."""
