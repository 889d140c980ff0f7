"""The lab and what the tests share with it: guests, VMs, daemons and hosts that are made, watched and removed again."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

SCRIPTS = ROOT / "scripts"
