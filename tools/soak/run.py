"""Runs the sessions of a soak one after the other, and compares the statistics."""

import argparse
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from tools.home_assistant.start import home_assistant_environment
from tools.paths import ROOT

from .world import METERS, World

SOAK_FOLDER = ROOT / ".demo"  # ignored by git
# Seconds since 1970: 2026-03-28 12:00 UTC, the day before a change to summer time.
START = 1_774_699_200.0
MEAN_PAUSE = 300.0  # s between two mishaps
LONGEST_MISHAP = 3600.0  # s
# The values for --check, in which each mishap happens once. So `CHECK_MISHAPS` is the
# number of `MISHAPS` in mishaps.py.
CHECK_PAUSE = 20.0  # s
CHECK_LONGEST_MISHAP = 60.0  # s
CHECK_MISHAPS = 11
NO_LIMIT = 10**9  # more mishaps than a soak can have


def run_soak(arguments: argparse.Namespace) -> int:
    """Run a soak, and return its exit code: 0 if it found no error."""
    SOAK_FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=SOAK_FOLDER))
    is_check = arguments.check
    World(
        seed=arguments.seed,
        speed=arguments.speed,
        true_time=START,
        end=START + 3600 * arguments.hours,
        pause=CHECK_PAUSE if is_check else MEAN_PAUSE,
        longest_mishap=CHECK_LONGEST_MISHAP if is_check else LONGEST_MISHAP,
        most_mishaps=CHECK_MISHAPS if is_check else NO_LIMIT,
    ).save(folder)
    began = time.monotonic()
    print(
        f"{arguments.hours:g} h with {METERS} meters and the seed {arguments.seed};"
        f" data and log: {folder}",
        flush=True,
    )
    # SIGTERM interrupts this function as Ctrl-C does, so that the session also ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not (world := World.load(folder)).is_finished:
            if not run_session(folder):
                print(
                    f"Home Assistant ended with an error. Data and log: {folder}",
                    file=sys.stderr,
                )
                return 1
    except KeyboardInterrupt:
        print(f"\nStopped. Mishaps in past sessions: {world.mishaps}. Data: {folder}")
        return 130  # the exit code of a shell for SIGINT
    real = time.monotonic() - began
    simulated = world.true_time - START
    print(
        f"\n{simulated / 3600:.1f} h in {real / 60:.1f} min ({simulated / real:.1f}"
        f" times real time): {world.mishaps} mishaps, {world.sessions} starts,"
        f" {len(world.expected())} statistics\n"
    )
    return report_result(world, folder, keep=arguments.keep)


def run_session(folder: Path) -> bool:
    """Run Home Assistant until it ends. Return False if it ended with an error."""
    with (folder / "home-assistant.log").open("ab") as log:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "tools.soak.session", folder],
            cwd=ROOT,
            env=home_assistant_environment(),
            stderr=log,
            check=False,
        )
    return done.returncode == 0


def report_result(world: World, folder: Path, *, keep: bool) -> int:
    """Print the differences and errors, and return the exit code.

    If there are none, delete `folder`, unless `keep` is true.
    """
    expected = world.expected()
    differences = world.differences()
    for name, difference in differences.items():
        print(
            f"{name}: {world.recorded.get(name, 0):.2f} kWh in the statistics,"
            f" {expected[name]:.2f} kWh at the meter ({difference:+.2f} kWh)"
        )
    for error in world.errors:
        print(error)
    if differences or world.errors:
        print(
            f"{len(differences)} statistics differ, {len(world.errors)} errors."
            f" Data and log: {folder}"
        )
        return 1
    # Only the totals: the other counters count the same energy.
    total = sum(kwh for name, kwh in expected.items() if " energy_" in name)
    print(f"All statistics agree with the meters, which counted {total:.0f} kWh.")
    if not keep:
        shutil.rmtree(folder)
    return 0
