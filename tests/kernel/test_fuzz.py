"""A short run of ``scripts/fuzz bpf``, and the proof that it notices defects."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eve_meta.steering.bpf.loader import source_directory
from tests import fuzzing
from tests.kernel.fuzz import bench
from tests.kernel.steer import loaded_pins

INPUTS = 10_000
SEED = 0


def test_every_frame_meets_the_end_that_the_law_demands(pins: Path) -> None:
    with bench(pins, "emfz") as made:
        seen = fuzzing.run(made.try_one, SEED, INPUTS)
    # The inputs reached all of these; otherwise the run would prove little.
    assert {
        "tap_in: not ours",
        "tap_in: passed_request",
        "tap_in: answered_arp",
        "tap_in: answered_nd",
        "tap_in: drop_spoofed_arp",
        "tap_in: drop_spoofed_ip",
        "tap_in: drop_spoofed_nd",
        "ns_in: marked",
        "ns_out: tagged",
        "host_in: passed_answer",
        "host_in: drop_no_tap",
    } <= set(seen)


DEFECTS = {
    "a spoofed reply passes": ("if (arp->spa == service)\n", "if (arp->spa == service && tagged)\n"),
    "the tag of another tap": ("mac[5] = tag;", "mac[5] = tag + 1;"),
    "another tap gets the request": ("bpf_redirect(set->host_ifindex, 0)", "bpf_redirect(skb->ifindex, 0)"),
    "a drop is not counted": ("return drop(tag, DROP_FRAGMENT);", "return TC_ACT_SHOT;"),
    "a checksum turns a frame into a forged one": ("if (verdict == TC_ACT_UNSPEC && fixed &&", "if (0 && fixed &&"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_fuzzer_finds_a_defect_and_names_the_seed_that_shows_it_again(
    bpffs: Path, tmp_path: Path, defect: str
) -> None:
    sources = Path(shutil.copytree(source_directory(), tmp_path / "bpf"))
    right, wrong = DEFECTS[defect]
    code = (sources / "steer.c").read_text()
    assert right in code
    (sources / "steer.c").write_text(code.replace(right, wrong))
    with (
        loaded_pins(bpffs, sources) as pins,
        bench(pins, "emfz") as made,
        pytest.raises(AssertionError, match=r"the input of --seed \d+ --inputs 1 failed"),
    ):
        fuzzing.run(made.try_one, SEED, INPUTS)
