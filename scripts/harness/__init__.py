"""The lab, and what the tests share with it: guests, VMs, daemons and hosts, each made for a purpose and removed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

SCRIPTS = ROOT / "scripts"
