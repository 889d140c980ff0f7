"""A domain of libvirt, as a command asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from eve_meta.inventory.libvirt.connection import load
from eve_meta.values.problem import Problem


@contextmanager
def domain_of(uri: str, name: str) -> Iterator[Any]:
    """The domain (``virDomain``) of a name or uuid; while the context lasts, what libvirt says is wrong is a Problem.

    :param uri: of the libvirt, "" for this host's own (or what LIBVIRT_DEFAULT_URI says).
    :raises Problem: when there is no such domain or no libvirt.
    """
    libvirt = load()
    # What libvirt's library would print is said by us. And while it waits for a libvirtd that hangs, Python would see
    # no Ctrl-C.
    libvirt.registerErrorHandler(lambda *_: None, None)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with closing(libvirt.open(uri or None)) as connection:
            yield _find(libvirt, connection, name)
    except libvirt.libvirtError as error:
        raise Problem(f"{uri or 'libvirt'}: {error.get_error_message() or error}") from None
    finally:
        signal.signal(signal.SIGINT, interrupt)


def inactive_xml(domain: Any) -> str:
    """The XML of *domain* as it starts next."""
    libvirt = load()
    # SECURE: without it passwords are left out, and lost when the domain is defined by what is left.
    xml: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    return xml


def _find(libvirt: Any, connection: Any, name: str) -> Any:
    for look in (connection.lookupByName, connection.lookupByUUIDString):
        try:
            return look(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
                raise
    raise Problem(f"libvirt has no domain {name!r}: 'virsh list --all' shows all")
