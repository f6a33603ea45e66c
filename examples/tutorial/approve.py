"""Plays the other people of a tutorial: they sign and merge what waits, and take the next step.

    python approve.py committee|model-owner|data-owner FOLDER

Each of the others looks at every open proposal, signs what he has a part in, and merges what then
waits for nobody. What is left undone is for you. Called twice it does nothing twice.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MEDPERF = Path(sys.executable).with_name("medperf")
OTHERS = {
    "committee": ("admin",),
    "model-owner": ("admin", "committee"),
    "data-owner": ("admin", "committee"),
}


def medperf(folder: Path, person: str, *words: str) -> subprocess.CompletedProcess[str]:
    """One command of somebody."""
    home = folder / "others" / person
    return subprocess.run(
        [str(MEDPERF), *words],
        cwd=folder,
        env={**os.environ, "MEDPERF_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answer(folder: Path, person: str, *words: str) -> Any:
    """A command's answer, read as JSON."""
    done = medperf(folder, person, *words, "--json")
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def merge_all(folder: Path, person: str) -> None:
    """Signs and merges every open proposal in which somebody has a part."""
    for proposal in answer(folder, person, "proposal", "ls"):
        uid = proposal["branch"].removeprefix("proposals/")
        done = medperf(folder, person, "proposal", "merge", uid, "-y")
        said = "merged" if done.returncode == 0 else "looked at"
        print(f"{person} {said} {uid}")


def invite_model(folder: Path) -> None:
    """A model owner asks to take part, once there is a benchmark."""
    refs = [one["benchmark"] for one in answer(folder, "modeler", "benchmark", "ls")]
    known = answer(folder, "modeler", "association", "ls")
    asked = any(one["component"] == "modeler/chest-resnet" for one in known)
    for ref in refs if not asked else []:
        words = ("mlcube", "associate", "--benchmark", ref, "--model_uid", "chest-resnet", "-y")
        done = medperf(folder, "modeler", *words)
        if done.returncode:
            raise SystemExit(done.stderr)
        print(f"modeler asks that modeler/chest-resnet takes part in {ref}")


def play_hospital(folder: Path) -> None:
    """The hospital takes part, runs what is due and publishes it."""
    at = ("--data_uid", "chest")
    raw = folder / "others/raw"
    steps: tuple[tuple[str, tuple[str, ...]], ...] = (
        (
            "hospital",
            ("dataset", "create", "--name", "chest", "--location", "Ulm", "--benchmark",
             "chestxray", "--data_path", str(raw / "images"), "--labels_path",
             str(raw / "labels.csv")),
        ),
        ("hospital", ("dataset", "submit", *at, "-y")),
        ("hospital", ("proposal", "merge", "hospital/dataset-chest", "-y")),
        ("hospital", ("dataset", "associate", "--benchmark_uid", "chestxray", *at, "-y")),
        ("committee", ("association", "approve", "--benchmark", "chestxray", "--data_uid",
                       "hospital/chest", "-y")),
    )  # fmt: skip
    if not answer(folder, "hospital", "dataset", "ls", "--mine"):
        for person, words in steps:
            done = medperf(folder, person, *words)
            if done.returncode:
                raise SystemExit(done.stderr)
        print("hospital takes part with its dataset hospital/chest")
    for words in (("reconcile",), ("result", "submit", "--all", "-y")):
        medperf(folder, "hospital", *words)
    print("hospital has run what is due and proposes its results")
    merge_all(folder, "admin")


def main(role: str, folder: Path) -> None:
    """One round of the others."""
    for person in OTHERS[role]:
        merge_all(folder, person)
    if role == "committee":
        invite_model(folder)
    if role == "model-owner":
        models = answer(folder, "committee", "association", "ls", "--approved")
        if any(one["component"].startswith("modeler/") for one in models):
            play_hospital(folder)


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing is lost; the same command goes on.", file=sys.stderr)
        raise SystemExit(130) from None
