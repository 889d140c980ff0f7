"""A fuzz run: how many inputs, from which seed, in how many processes; and what to say when one of them fails.

Input number n of seed S is input 0 of seed S + n, so that each can be tried again alone. That is also why no input may
depend on one before.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from random import Random

DEFAULT_INPUTS = 1_000_000

Input = Callable[[Random], str]
"""Tries one input made out of that randomness, and raises when something is wrong with what came of it.

Returns what came of it, in a word: so that a run shows that it tried more than one thing.
"""


def run(one_input: Input, seed: int, inputs: int, *, first: int = 0, step: int = 1) -> Counter[str]:
    """Tries the inputs *first*, *first* + *step*, … below *inputs* of *seed*; counts what came of them.

    :raises AssertionError: at the first that fails; it names the seed.
    """
    seen: Counter[str] = Counter()
    for number in range(first, inputs, step):
        try:
            seen[one_input(Random(seed + number))] += 1
        except Exception as error:
            raise AssertionError(f"the input of --seed {seed + number} --inputs 1 failed: {error}") from error
    return seen


def main(name: str, prepare: Callable[[], contextlib.AbstractContextManager[Input]]) -> int:
    """Runs ``scripts/fuzz NAME``: *prepare*, in each process, gives what tries an input."""
    parser = argparse.ArgumentParser(prog=f"scripts/fuzz {name}")
    parser.add_argument("--inputs", type=int, default=DEFAULT_INPUTS)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    arguments = parser.parse_args()
    seed, inputs = arguments.seed, arguments.inputs
    if inputs < 1:
        parser.error(f"--inputs is {inputs}: it takes at least 1")
    print(f"fuzz {name}: {inputs} inputs, --seed {seed}", flush=True)
    began = time.monotonic()
    processes = min(os.cpu_count() or 1, inputs)
    with multiprocessing.Pool(processes) as pool:
        parts = [(prepare, seed, inputs, first, processes) for first in range(processes)]
        seen: Counter[str] = Counter()
        for part in pool.imap_unordered(_part, parts):
            if isinstance(part, str):
                print(part, file=sys.stderr)
                print(f"fuzz {name}: FAILED", file=sys.stderr)
                return 1
            seen += part
    for what, number in seen.most_common():
        print(f"{number:>10} {what}")
    print(f"fuzz {name}: {inputs} inputs in {time.monotonic() - began:.0f} s, none failed")
    return 0


_Part = tuple[Callable[[], contextlib.AbstractContextManager[Input]], int, int, int, int]


def _part(part: _Part) -> Counter[str] | str:
    (prepare, seed, inputs, first, step) = part
    try:
        with prepare() as one_input:
            return run(one_input, seed, inputs, first=first, step=step)
    except Exception:
        return traceback.format_exc()
