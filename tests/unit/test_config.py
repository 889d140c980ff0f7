"""The configuration: its defaults, and errors that name each wrong key."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from eve_meta import config as module
from eve_meta.config import Config, ConfigProblem, load_config, read_only_socket
from eve_meta.values.domain import TokenPolicy
from eve_meta.values.problem import Problem


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "eve-meta.toml"
    path.write_text(text)
    return load_config(path)


def wrong(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(Problem) as caught:
        load(tmp_path, text)
    place = re.compile(rf"{re.escape(str(tmp_path))}/eve-meta\.toml(:\d+)*: ")
    lines = str(caught.value).splitlines()
    assert all(place.match(line) for line in lines)
    return [place.sub("", line) for line in lines]


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Config()


def test_no_file_at_the_default_path_is_all_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEFAULT_PATH", tmp_path / "missing.toml")
    assert load_config(None) == Config()


def test_a_file_at_the_default_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.toml").write_text("[web]\nworkers = 3\n")
    monkeypatch.setattr(module, "DEFAULT_PATH", tmp_path / "there.toml")
    assert load_config(None).web.workers == 3


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"missing\.toml: no such file$"):
        load_config(tmp_path / "missing.toml")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Is a directory"):
        load_config(tmp_path)


def test_keys_in_the_file_are_loaded(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        [inventory]
        directory = "/srv/domains"
        process = false
        eve = "/run"
        eve_all = true
        [steering]
        taps = ["veth*"]
        namespace = "lab"
        [web]
        workers = 0
        tokens = "off"
        hop_limit = 2
        hosts = ["metadata.example.org"]
        domain_wait = 0
        [admin]
        socket = "/run/lab/admin.sock"
        [paths]
        run = "/run/lab"
        state = "/var/lib/lab"
        """,
    )
    assert loaded.inventory.directory == Path("/srv/domains")
    assert (loaded.inventory.eve, loaded.inventory.eve_all) == ("/run", True)
    assert loaded.steering.taps == ("veth*",)
    assert (loaded.web.workers, loaded.web.tokens, loaded.web.domain_wait) == (0, TokenPolicy.OFF, 0)
    assert (loaded.web.hop_limit, loaded.web.hosts) == (2, ("metadata.example.org",))
    assert loaded.paths.state == Path("/var/lib/lab")


NO_METRICS_THERE = (
    'admin.metrics: expected one IP address of the host and a port, such as "127.0.0.1:9169", or "" for no metrics'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[steering]\ntap = ["x"]', "steering.tap: unknown key; did you mean 'taps'?"),
        ("[sterring]", "sterring: unknown key; did you mean 'steering'?"),
        ("web = 1", "web: expected a mapping of names to values, got 1"),
        ("[steering]\ntaps = []", "steering.taps: expected at least one pattern, and none empty, got []"),
        ('[steering]\ntaps = [""]', "steering.taps: expected at least one pattern, and none empty, got ['']"),
        ('[steering]\ntaps = "vnet*"', "steering.taps: expected a list, got 'vnet*'"),
        ("[steering]\ntaps = [1]", "steering.taps[0]: expected a string, got 1: put it in quotes"),
        (
            '[steering]\nnamespace = "fifteen-letters"',
            "steering.namespace: expected a name of 1..14 characters of A-Z a-z 0-9 _ . -, got 'fifteen-letters'",
        ),
        (
            '[steering]\nnamespace = "../x"',
            "steering.namespace: expected a name of 1..14 characters of A-Z a-z 0-9 _ . -, got '../x'",
        ),
        ("[web]\nworkers = 65", "web.workers: expected a number of workers of 0..64, got 65"),
        ("[web]\nworkers = true", "web.workers: expected a whole number, got True"),
        ("[web]\nhop_limit = 0", "web.hop_limit: expected a number of hops of 1..64, got 0"),
        ("[web]\ndomain_wait = 3601", "web.domain_wait: expected a number of seconds of 0..3600, got 3601"),
        ('[paths]\nrun = "run"', "paths.run: expected an absolute path, got 'run'"),
        ("[paths]\nrun = 1", "paths.run: expected a path, got 1"),
        *(
            (
                f'[inventory]\nlibvirt = "{uri}"',
                'inventory.libvirt: expected "auto", "" or the URI of this host\'s libvirt such as qemu:///system, got '
                + repr(uri),
            )
            for uri in ("qemu", "qemu+ssh://other/system", "qemu:system", "/run/libvirt")
        ),
        ('[inventory]\neve = "run"', "inventory.eve: expected an absolute path, got 'run'"),
        ("[inventory]\neve_all = 1", "inventory.eve_all: expected true or false, got 1"),
        *(
            (f'[admin]\nmetrics = "{address}"', f"{NO_METRICS_THERE}, got '{address}'")
            # The first two are reached from each guest's bridge.
            for address in (
                "0.0.0.0:9169",
                "[::]:9169",
                "localhost:9169",
                "127.0.0.1",
                "127.0.0.1:",
                "127.0.0.1:0",
                "127.0.0.1:65536",
                "127.0.0.1:²",
                "::1:9169",
                "[127.0.0.1]:9169",
                "[::1]",
                ":9169",
                "224.0.0.1:9169",
            )
        ),
        ('[web]\nhosts = ["a b"]', "web.hosts: expected host names such as metadata.example.org, got ['a b']"),
        ('[web]\nhosts = ["-a"]', "web.hosts: expected host names such as metadata.example.org, got ['-a']"),
        ('[web]\ntokens = "on"', "web.tokens: expected one of optional, required, off, got 'on'"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_key(tmp_path: Path, text: str, message: str) -> None:
    assert wrong(tmp_path, text) == [message]


def test_a_socket_path_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    good, bad = "/" + "a" * 103, "/" + "a" * 104
    assert load(tmp_path, f'[admin]\nsocket = "{good}"').admin.socket == Path(good)
    assert len(bytes(read_only_socket(Path(good)))) == 107
    assert "at most 104 bytes" in wrong(tmp_path, f'[admin]\nsocket = "{bad}"')[0]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    assert len(wrong(tmp_path, '[web]\nworkers = -1\nhop_limit = 0\n[paths]\nrun = ""\nrum = ""')) == 4


def test_an_error_in_toml_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        load(tmp_path, "[web]\nworkers = \n")
    assert str(caught.value) == f"{tmp_path}/eve-meta.toml:2:11: not TOML: Invalid value"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[web]\n\nworkers = -1\n", 3),
        ("[steering]\ntaps = ['*']\n[ web ]\n'workers'=-1\n", 4),
        ("web.workers = -1\n", 1),
        ("[paths]\n[web]\nworker = 1\n", 3),
        ("[paths]\n[webb]\nworkers = 1\n", 2),
        ("\nweb = {workers = -1}\n", 2),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(ConfigProblem) as caught:
        load(tmp_path, text)
    (mistake,) = caught.value.mistakes
    assert mistake.line == line
    assert str(caught.value).startswith(f"{tmp_path}/eve-meta.toml:{line}: ")


def test_run_and_state_are_two_directories(tmp_path: Path) -> None:
    (line,) = wrong(tmp_path, '[paths]\nrun = "/srv/x"\nstate = "/srv/x"\n')
    assert line == "paths.state: expected another directory than 'run', got '/srv/x'"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff")
    with pytest.raises(Problem, match="expected text in UTF-8"):
        load_config(tmp_path / "x.toml")


def test_the_file_that_is_installed_shows_every_key_at_its_default(tmp_path: Path) -> None:
    shipped = (Path(__file__).parents[2] / "scripts/host/eve-meta.toml").read_text()
    (tmp_path / "as.toml").write_text(shipped)
    (tmp_path / "taken.toml").write_text(re.sub(r"^#(?=\S)", "", shipped, flags=re.MULTILINE))
    assert load_config(tmp_path / "as.toml") == load_config(tmp_path / "taken.toml") == Config()
    for section, keys in attrs.asdict(Config()).items():
        assert f"\n#[{section}]\n" in shipped
        for key in keys:
            assert f"\n#{key} = " in shipped


def test_patterns_of_taps_are_case_sensitive(tmp_path: Path) -> None:
    steering = load(tmp_path, '[steering]\ntaps = ["vnet*", "tap?"]').steering
    names = ("vnet", "vnet12", "tap0", "tap10", "VNET1", "xvnet1")
    assert [name for name in names if steering.matches(name)] == ["vnet", "vnet12", "tap0"]


def test_a_user_whose_qemu_is_believed_has_to_exist(tmp_path: Path) -> None:
    path = tmp_path / "eve-meta.toml"
    path.write_text('[inventory]\nprocess_users = [\n  "root",\n  "nobdy",\n]\n')
    with pytest.raises(Problem) as caught:
        load_config(path)
    assert str(caught.value) == (
        f"{path}:4: inventory.process_users: expected users of this host, got 'nobdy', which is none"
    )
    path.write_text('[inventory]\nprocess_users = ["root"]\n')
    assert load_config(path).inventory.process_users == ("root",)
