"""A fuzz run: its inputs, its seed, its processes, and the report of the first input that fails.

Input number n of seed S is input 0 of seed S + n, so that each input can be repeated alone. Therefore no input may
depend on the ones before it.
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
"""Try one input made from that source of randomness, and raise an exception if its result is wrong.

Return the result in a word, so that a run can show that its inputs had more than one result.
"""


def run(one_input: Input, seed: int, inputs: int, *, first: int = 0, step: int = 1) -> Counter[str]:
    """Try the inputs *first*, *first* + *step*, … below *inputs* of *seed*, and count their results.

    :raises AssertionError: at the first input that fails, with the seed that repeats it.
    """
    seen: Counter[str] = Counter()
    for number in range(first, inputs, step):
        try:
            seen[one_input(Random(seed + number))] += 1
        except Exception as error:
            raise AssertionError(f"the input of --seed {seed + number} --inputs 1 failed: {error}") from error
    return seen


def main(name: str, prepare: Callable[[], contextlib.AbstractContextManager[Input]]) -> int:
    """Run ``scripts/fuzz NAME``. *prepare* is called in each process, and its value tries one input.

    Return the exit status.
    """
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
