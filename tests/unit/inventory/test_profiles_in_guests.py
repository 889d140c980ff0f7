"""What cloud-init itself makes of a domain with profiles: its own merging, and its own templates."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain
from tests.unit.documents.reading import SEED, find
from tests.unit.documents.test_cloud_init import Boot
from tests.unit.inventory.test_profiles import one, profile, profiles

helpers = pytest.importorskip("cloudinit.helpers", reason="cloud-init is not installed")
user_data = pytest.importorskip("cloudinit.user_data", reason="cloud-init is not installed")
sources = pytest.importorskip("cloudinit.sources", reason="cloud-init is not installed")
handlers = pytest.importorskip("cloudinit.handlers", reason="cloud-init is not installed")
cloud_config = pytest.importorskip("cloudinit.handlers.cloud_config", reason="cloud-init is not installed")
jinja_template = pytest.importorskip("cloudinit.handlers.jinja_template", reason="cloud-init is not installed")

BASE = """\
#cloud-config
timezone: UTC
packages: [chrony]
users: [admin]
"""


def read(domain: Domain, path: str) -> bytes:
    document = find(Tree(domain), path)
    assert document is not None
    return bytes(document.render(SEED))


def config_of(domain: Domain, tmp_path: Path) -> Any:
    """Return the cloud-config that cloud-init makes of the user data of *domain*."""
    paths = helpers.Paths({"cloud_dir": str(tmp_path), "run_dir": str(tmp_path)})
    paths.datasource = type("Source", (), {"get_instance_id": lambda self: "i"})()
    (tmp_path / "instances/i").mkdir(parents=True)
    source = sources.DataSource({}, types.SimpleNamespace(name="debian"), paths)
    source.metadata = Boot(domain).results["metadata"]
    source.persist_instance_data(write_cache=False)
    message = user_data.UserDataProcessor(paths).process(read(domain, "/openstack/latest/user_data"))
    of_config = cloud_config.CloudConfigPartHandler(paths)
    of_template = jinja_template.JinjaTemplatePartHandler(paths, sub_handlers=[of_config])
    of_config.handle_part(None, handlers.CONTENT_START, None, None, None, None)
    for part in message.walk():
        kind = part.get_content_type()
        handler = {"text/cloud-config": of_config, "text/jinja2": of_template}.get(kind)
        if handler is not None:
            payload = part.get_payload(decode=True).decode()
            handler.handle_part(None, kind, part.get_filename(), payload, "once-per-instance", {})
    of_config.handle_part(None, handlers.CONTENT_END, None, None, None, None)
    return yaml.safe_load((tmp_path / "instances/i/cloud-config.txt").read_text())


def with_base(own: str, base: str = BASE) -> Domain:
    domain = Domain(name="web1", profiles=("base",), user_data=own.encode(), meta={"zone": "Europe/Berlin"})
    return one(domain, profiles(base=profile(user_data=base.encode()))).domain


def test_of_two_values_of_a_key_the_domains_own_counts(tmp_path: Path) -> None:
    config = config_of(with_base("#cloud-config\npackages: [nginx]\n"), tmp_path)
    assert config == {"timezone": "UTC", "packages": ["nginx"], "users": ["admin"]}


def test_with_merge_how_lists_are_joined(tmp_path: Path) -> None:
    own = "#cloud-config\nmerge_how: 'list(append)+dict(no_replace, recurse_list)+str()'\npackages: [nginx]\n"
    config = config_of(with_base(own), tmp_path)
    assert config["packages"] == ["chrony", "nginx"]


@pytest.mark.parametrize("own", ["", "#cloud-config\npackages: [nginx]\n"])
def test_a_template_knows_the_domain(own: str, tmp_path: Path) -> None:
    base = (
        "## template: jinja\n#cloud-config\n"
        "fqdn: {{ v1.local_hostname }}.example.org\ntimezone: {{ ds.meta_data.meta.zone }}\n"
    )
    config = config_of(with_base(own, base), tmp_path)
    assert config["fqdn"] == "web1.example.org"
    assert config["timezone"] == "Europe/Berlin"
