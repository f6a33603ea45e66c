"""A made-up chest X-ray dataset in CheXpert's layout, to try a benchmark without any patient.

    python generate.py OUT --cases 200 --seed 7 --site hospital
    python generate.py OUT --cases 24 --site demo --demo demo_dataset.tar.gz

`OUT/images` is the data path, `OUT/labels.csv` the labels path. What is always true here:

* Case i depends on seed, site and i only: more cases extend a dataset, and the same arguments give
  the same bytes (with the same versions of numpy and Pillow).
* One case is in memory at a time.
* A picture is a sum of path lengths through tissue, as a radiograph is: thorax, less the air of the
  lungs, plus heart, bones, vessels and what the findings add; then exposure, scatter and noise.
* A label is what a reader would write. Findings have a severity; faint ones are sometimes called
  uncertain (-1) or missed, and what a report does not mention is blank.

Nothing here is fit for any medical purpose.
"""

import argparse
import csv
import gzip
import hashlib
import io
import os
import signal
import sys
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.floating[Any]]

OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS)
AHEAD = 500  # cases that are made before they are written
ROOT_FOLDER = "CheXpert-v1.0-small/valid"
DEMO_SITE = "demo"
DETAIL = 0.7  # tissue is drawn this fine and enlarged, as a detector blurs; grain is at full size


@dataclass(frozen=True)
class Site:
    """How one place's patients and machines differ from another's."""

    exposure: float = 1.0  # gain of the detector; 1 is textbook
    gamma: float = 1.0  # tone curve of the workstation's export
    noise: float = 0.024  # quantum noise, in grey values of 0..1, at mid grey
    scatter: float = 0.08  # share of the dose that arrives as haze
    bedside: float = 0.3  # share of AP pictures, taken lying or sitting in bed
    age: float = 57.0  # mean age, years
    prevalence: dict[str, float] = field(
        default_factory=lambda: {
            "Atelectasis": 0.27,
            "Cardiomegaly": 0.28,
            "Consolidation": 0.22,
            "Edema": 0.24,
            "Pleural Effusion": 0.2,
        }
    )
    uncertain: float = 0.04  # share of labels that a reader leaves open, beside the faint findings
    mistakes: float = 0.02  # share of labels that are simply wrong
    blank: float = 0.1  # share of negative labels that the report does not mention
    age_missing_every: int = 0  # every n-th patient has no age on record; 0: all have one


def site_of(name: str) -> Site:
    """The fixed character of a site: the demo's is textbook, any other's is drawn from its name."""
    if name == DEMO_SITE:
        return Site()
    draw = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:16]))
    base = Site()
    return Site(
        exposure=float(draw.uniform(0.85, 1.15)),
        gamma=float(draw.uniform(0.85, 1.2)),
        noise=float(draw.uniform(0.018, 0.034)),
        scatter=float(draw.uniform(0.04, 0.14)),
        bedside=float(draw.uniform(0.15, 0.6)),
        age=float(draw.uniform(50, 68)),
        prevalence={
            name: float(rate * draw.uniform(0.8, 1.35)) for name, rate in base.prevalence.items()
        },
        uncertain=float(draw.uniform(0.02, 0.06)),
        blank=float(draw.uniform(0.05, 0.2)),
        age_missing_every=int(draw.integers(9, 17)),
    )


@dataclass(frozen=True)
class Patient:
    """One patient: what is on record, and how severe each finding is (0: none, 1: marked)."""

    sex: str
    age: int | None
    view: str  # AP or PA
    severity: dict[str, float]


def draw_patient(draw: np.random.Generator, site: Site, index: int) -> Patient:
    """A patient of this site."""
    age = int(np.clip(draw.normal(site.age, 17), 18, 90))
    view = "AP" if draw.random() < site.bedside else "PA"
    older, sicker = (age - 57) / 100, 1.25 if view == "AP" else 0.9
    severity = {}
    heart_failure = draw.random() < 0.1
    for name, rate in site.prevalence.items():
        chance = rate * sicker * (1 + older)
        if heart_failure and name in ("Cardiomegaly", "Edema", "Pleural Effusion"):
            chance = max(chance, 0.55)
        severity[name] = float(draw.beta(2.2, 1.6)) if draw.random() < chance else 0.0
    known = not site.age_missing_every or index % site.age_missing_every != 4
    return Patient(
        "Female" if draw.random() < 0.45 else "Male", age if known else None, view, severity
    )


def read_labels(draw: np.random.Generator, site: Site, patient: Patient) -> dict[str, str]:
    """What a reader writes: 1, 0, -1 (uncertain) or nothing for each observation."""
    labels = {}
    for name in OBSERVATIONS:
        severity = patient.severity.get(name, 0.0)
        seen = severity > 0
        if name in patient.severity:
            doubt = site.uncertain + 0.25 * max(0.0, 0.3 - severity) / 0.3 * seen
            missed = 0.35 * max(0.0, 0.25 - severity) / 0.25 * seen
        else:
            doubt, missed = 0.2 * site.uncertain, 0.0
            seen = name == "Support Devices" and patient.view == "AP"
        if name in patient.severity and draw.random() < site.mistakes:
            seen = not seen
        chance = draw.random()
        if chance < doubt:
            labels[name] = "-1"
        elif seen and chance < 1 - missed:
            labels[name] = "1"
        else:
            labels[name] = "" if draw.random() < site.blank else "0"
    opaque = [labels[name] for name in ("Edema", "Consolidation", "Atelectasis")]
    labels["Lung Opacity"] = "1" if "1" in opaque else labels["Lung Opacity"]
    if labels["Cardiomegaly"] == "1":
        labels["Enlarged Cardiomediastinum"] = "1"
    found = any(labels[name] == "1" for name in OBSERVATIONS if name != "Support Devices")
    labels["No Finding"] = "0" if found else "1"
    return labels


class Sheet:
    """The film: a square of pixels, and where each lies in the patient's own frame.

    x runs from the picture's left (the patient's right) to its right, y from neck to abdomen; both
    are about -1..1 and 0 is the middle of the chest.
    """

    def __init__(self, draw: np.random.Generator, size: int) -> None:
        self.size = size
        angle, zoom = draw.normal(0, 0.025), float(np.clip(draw.normal(1.0, 0.04), 0.88, 1.12))
        self._shift = (draw.normal(0, 0.025), draw.normal(0, 0.03))
        self._turn = (zoom * float(np.cos(angle)), zoom * float(np.sin(angle)))
        axis = np.linspace(-1, 1, size, dtype=np.float32)
        across, down = axis[None, :] - self._shift[0], axis[:, None] - self._shift[1]
        cos, sin = self._turn[0] / zoom**2, self._turn[1] / zoom**2
        self.x: Plane = (cos * across + sin * down).astype(np.float32)
        self.y: Plane = (cos * down - sin * across).astype(np.float32)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the patient falls, in pixels."""
        cos, sin = self._turn
        across, down = cos * x - sin * y + self._shift[0], sin * x + cos * y + self._shift[1]
        half = (self.size - 1) / 2
        return (across + 1) * half, (down + 1) * half


def step(distance: Plane, width: float) -> Plane:
    """0 far outside (negative distance), 1 far inside, with a soft edge of the given width."""
    inside: Plane = 0.5 + 0.5 * np.tanh(distance * np.float32(0.5 / width))
    return inside.astype(np.float32)


def bell(distance: Plane) -> Plane:
    """1 at 0 and falling off like a Gaussian of width 1."""
    return np.exp(-np.square(distance)).astype(np.float32)


def cloud(draw: np.random.Generator, size: int, cells: int) -> Plane:
    """Smooth noise, about -1..1, with this number of cells along an edge."""
    grid = Image.fromarray(draw.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def vessels(draw: np.random.Generator, sheet: Sheet, plump: float) -> Plane:
    """The branching shadow of the lung vessels, 0..1; plump vessels are wide and reach the wall."""
    film = Image.new("L", (sheet.size, sheet.size))
    pen = ImageDraw.Draw(film)
    unit = sheet.size / 320
    for side in (-1, 1):
        for root in np.linspace(-1.25, 1.35, 9) + draw.normal(0, 0.1, 9):
            stack = [(side * 0.13, 0.02 + 0.05 * root, root, 4.2 * plump, 0)]
            while stack:
                x, y, angle, width, depth = stack.pop()
                turns = draw.normal(0, 0.22, 2)
                reach = draw.uniform(0.09, 0.15)
                x2 = x + side * reach * float(np.cos(angle))
                y2 = y + reach * float(np.sin(angle))
                shade = int(min(255, 225 * width / 4 + 25))
                line = (*sheet.pixel(x, y), *sheet.pixel(x2, y2))
                pen.line(line, fill=shade, width=max(1, round(width * unit)))
                if depth < 4 and width > 0.55:
                    stack.append((x2, y2, angle + turns[0] * 0.7, width * 0.78, depth + 1))
                    if depth % 2 == 0:
                        away = angle + (0.55 if turns[1] > 0 else -0.55) + turns[1]
                        stack.append((x2, y2, away, width * 0.55, depth + 1))
    soft = film.filter(ImageFilter.GaussianBlur(0.9 * unit))
    return np.asarray(soft, dtype=np.float32) / 255


def septal_lines(draw: np.random.Generator, sheet: Sheet, severity: float) -> Plane:
    """Short flat lines at the edge of the lower lungs (Kerley B), as in oedema; 0..1."""
    film = Image.new("L", (sheet.size, sheet.size))
    pen = ImageDraw.Draw(film)
    for side in (-1, 1):
        for level in np.linspace(0.05, 0.45, 3 + round(9 * severity)):
            start, y = 0.66 + draw.normal(0, 0.012), level + draw.normal(0, 0.01)
            length = draw.uniform(0.05, 0.11)
            line = (
                *sheet.pixel(side * start, y),
                *sheet.pixel(side * (start - length), y + draw.normal(0, 0.008)),
            )
            pen.line(line, fill=200, width=max(1, round(sheet.size / 320)))
    soft = film.filter(ImageFilter.GaussianBlur(0.7 * sheet.size / 320))
    return np.asarray(soft, dtype=np.float32) / 255


def bones(sheet: Sheet, draw: np.random.Generator, across: Plane, wall: Plane) -> Plane:
    """Path through ribs, clavicles and spine."""
    x, y = sheet.x, sheet.y
    u = across / np.float32(0.74)
    u4 = np.square(np.square(u))
    gap, phase = 0.158 * draw.normal(1, 0.04), draw.uniform(0, 1)
    cage = step(wall + 0.05 - across, 0.012) * step(y + 0.9, 0.02) * step(0.66 - y, 0.06)
    back = np.cos(
        (y - 0.16 * u - 0.30 * u4 + 0.04) * np.float32(2 * np.pi / gap) + 2 * np.pi * phase
    )
    front = np.cos(
        (y + 0.42 * u - 0.30 * u * u * u) * np.float32(2 * np.pi / (gap * 1.12)) + 6.1 * phase
    )
    back_rib = step(back - 0.3, 0.12) + 0.45 * bell((back - 0.35) / 0.25)
    front_rib = step(front - 0.35, 0.15) * step(across - 0.3, 0.03)
    total = cage * (0.062 * back_rib * step(across - 0.07, 0.02) + 0.036 * front_rib)
    slope = draw.normal(0.16, 0.05)
    for side in (-1, 1):
        run = side * x
        middle = -0.68 - slope * (run - 0.35) + 0.05 * np.sin(run * 7.5)
        total += 0.10 * bell((y - middle) / 0.036) * step(run - 0.06, 0.02) * step(0.92 - run, 0.05)
    discs = 1 + 0.22 * np.cos(y * np.float32(2 * np.pi / 0.145) + 3 * phase)
    spine = step(0.095 - np.abs(x + 0.01 * np.sin(2 * y)), 0.014)
    total += 0.12 * spine * discs + 0.05 * bell(x / 0.02)
    return total.astype(np.float32)


@dataclass(frozen=True)
class Chest:
    """Where the lungs of one patient lie on the film, and what moves with them."""

    sheet: Sheet
    across: Plane  # distance from the middle
    wall: Plane  # distance of the chest wall from the middle, at each height
    width: float  # half the chest's width
    pull: float  # shift of the mediastinum
    breath: float  # height of the right diaphragm
    collapsed: int  # the side (-1, 1) whose base collapses, if any does
    lift: float  # how far collapse lifts the right diaphragm
    dome: Plane  # height of the diaphragm
    lungs: Plane  # 1 in the lungs
    air: Plane  # path through air


def breathe(draw: np.random.Generator, sheet: Sheet, collapse: float, *, bedside: bool) -> Chest:
    """The lungs; collapse of one's base lifts its diaphragm and pulls the mediastinum there."""
    x, y = sheet.x, sheet.y
    collapsed = 1 if draw.random() < 0.5 else -1
    pull = collapsed * collapse * 0.045 + draw.normal(0, 0.012)
    across, left = np.abs(x), step(x, 0.02)  # the patient's left is the picture's right
    breath = draw.normal(0.53, 0.045) - (0.06 if bedside else 0)
    right_lift, left_lift = (collapse * 0.13 if side == collapsed else 0.0 for side in (-1, 1))
    right_base = breath - right_lift + draw.normal(0, 0.02)
    left_base = breath + 0.05 - left_lift + draw.normal(0, 0.02)
    apex = -0.84 + draw.normal(0, 0.02)
    width = float(np.clip(draw.normal(0.75, 0.025), 0.68, 0.82))
    rise = np.clip((y - apex) / (0.62 - apex), 0, 1)
    wall = width * np.sqrt(np.clip(1 - (1 - rise) ** 2.6, 0, 1)).astype(np.float32)
    outer, inner = np.clip(across - 0.33, 0, 1), np.clip(0.33 - across, 0, 1)
    dome = right_base * (1 - left) + left_base * left + 1.25 * outer**2 + 0.35 * inner**2
    lungs = (
        step(wall - across, 0.013)
        * step(np.abs(x - pull) - 0.10 - 0.03 * np.clip(-y, 0, 1), 0.014)
        * step(dome - y, 0.011)
    )
    depth = np.sqrt(np.clip(1.04 - np.square(across / (wall + 0.06)), 0.15, 1)).astype(np.float32)
    return Chest(
        sheet=sheet,
        across=across,
        wall=wall,
        width=width,
        pull=pull,
        breath=breath,
        collapsed=collapsed,
        lift=right_lift,
        dome=dome,
        lungs=lungs,
        air=lungs * (0.72 + 0.28 * depth),
    )


def soft_tissue(draw: np.random.Generator, chest: Chest, body: Plane, *, breasts: bool) -> Plane:
    """Path through the trunk, less the lungs' air."""
    across, y = chest.across, chest.sheet.y
    fat = draw.normal(0.0, 0.035)
    paths = body * (0.70 + fat + 0.10 * step(y - 0.45, 0.12) - 0.10 * np.square(across))
    paths -= (0.50 + draw.normal(0, 0.015)) * chest.air
    paths += 0.05 * bell((y + 0.6) / 0.22) * step(across - 0.5, 0.08) * body  # shoulder muscles
    if breasts:
        low = draw.normal(0.42, 0.05)
        cup = np.square((across - 0.43) / 0.34) + np.square((y - low) / 0.27)
        paths += draw.uniform(0.03, 0.085) * step(1 - cup, 0.06)
    return paths


def heart_reach(draw: np.random.Generator, chest: Chest, ratio: float) -> tuple[Plane, Plane]:
    """The heart for a ratio of its width to the chest's: 1 inside, and distance as a share of its
    radius."""
    wide, tilt = ratio * chest.width, draw.normal(0.42, 0.05)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    x, y = chest.sheet.x - chest.pull - 0.28 * wide, chest.sheet.y - (chest.breath - 0.20)
    along, over = x * cos + y * sin, y * cos - x * sin
    reach = np.hypot(along / (wide * 1.04), over / (0.20 + 0.45 * (wide - 0.2)))
    return step((1 - reach) * wide, 0.013), reach


def mediastinum(
    draw: np.random.Generator, chest: Chest, heart: Plane, reach: Plane, age: int
) -> Plane:
    """Path through heart, great vessels and aortic knob, less windpipe and stomach bubble."""
    x, y, pull, lungs = chest.sheet.x, chest.sheet.y, chest.pull, chest.lungs
    bulk = 0.75 + 0.25 * np.sqrt(np.clip(1 - reach * reach, 0, 1))
    paths: Plane = heart * step(chest.dome - y, 0.02) * bulk * (0.05 + 0.35 * chest.air)
    great = step(0.125 - np.abs(x - pull + 0.02), 0.02) * step(0.2 - y, 0.1)
    paths += great * step(y + 0.9, 0.05) * (0.07 + 0.2 * lungs)
    knob = np.hypot(x - pull - 0.115, (y + 0.30) * 0.9)
    paths += step(0.085 + 0.0004 * age - knob, 0.012) * (0.05 + 0.22 * lungs)
    paths -= 0.13 * bell((x - 0.3 * pull) / 0.042) * step(-0.20 - y, 0.03)
    stomach = np.hypot((x - 0.36) / 0.14, (y - chest.breath - 0.22) / 0.075)
    bubble = draw.uniform(0.0, 0.2) * step(1 - stomach, 0.08)
    paths -= bubble
    return paths


def edema(
    draw: np.random.Generator, chest: Chest, severity: float, coarse: Plane, fine: Plane
) -> Plane:
    """Water in the lungs: a haze like a bat's wings around the roots, and septal lines."""
    wings = bell((chest.across - 0.27) / 0.24) * bell((chest.sheet.y - 0.10) / 0.38)
    haze = wings * (0.8 + 0.45 * coarse) + 0.22
    lines = septal_lines(draw, chest.sheet, severity)
    added: Plane = severity * (0.085 * haze + 0.014 * fine + 0.10 * lines)
    return added


def consolidation(
    draw: np.random.Generator,
    chest: Chest,
    severity: float,
    noises: tuple[Plane, Plane],
    tree: Plane,
) -> Plane:
    """A ragged patch that holds fluid instead of air; the vessels in it no longer stand out."""
    coarse, fine = noises
    side = 1 if draw.random() < 0.5 else -1
    at_x, at_y = side * draw.uniform(0.30, 0.52), draw.uniform(-0.45, 0.34)
    size_x, size_y = (draw.uniform(0.11, 0.21) * (0.7 + 0.5 * severity) for _ in range(2))
    away = np.hypot((chest.sheet.x - at_x) / size_x, (chest.sheet.y - at_y) / size_y)
    patch = step(1 - away - 0.42 * coarse - 0.1 * fine, 0.12)
    return patch * ((0.10 + 0.19 * severity) * (0.9 + 0.2 * fine) - 0.15 * tree)


def atelectasis(draw: np.random.Generator, chest: Chest, severity: float) -> Plane:
    """Flat bands and a dense base on the side whose lung has collapsed in part."""
    x, y, side = chest.sheet.x, chest.sheet.y, chest.collapsed
    wedge = bell((chest.dome - y) / (0.10 + 0.10 * severity)) * step(side * x, 0.02)
    paths = 0.15 * severity * wedge * bell((chest.across - 0.3) / 0.3)
    for _ in range(1 + round(2 * severity)):
        at_x = side * draw.uniform(0.30, 0.50)
        at_y = chest.breath - chest.lift - draw.uniform(0.03, 0.24)
        lean = side * draw.normal(0.0, 0.22)
        plate = bell((y - at_y - lean * (x - at_x)) / (0.010 + 0.010 * severity))
        run = step(draw.uniform(0.10, 0.20) - np.abs(x - at_x), 0.02)
        paths = paths + plate * run * (0.08 + 0.10 * severity)
    return paths


def effusion(draw: np.random.Generator, chest: Chest, severity: float) -> Plane:
    """Fluid beside one lung, with its rising rim. No finding of the benchmark: it confounds."""
    side = 1 if draw.random() < 0.5 else -1
    rim = 0.9 * np.square(np.clip(chest.across - 0.35, 0, 1))
    level = chest.breath + 0.16 - 0.30 * severity - rim
    x, y = chest.sheet.x, chest.sheet.y
    return step(y - level, 0.02) * step(side * x, 0.02) * (0.20 + 0.12 * severity)


def in_the_lungs(draw: np.random.Generator, chest: Chest, patient: Patient, heart: Plane) -> Plane:
    """Path through vessels, roots and tissue of the lungs, and through what the findings add."""
    sick, size, lungs = patient.severity, chest.sheet.size, chest.lungs
    water = sick.get("Edema", 0.0)
    plump = draw.normal(1.0, 0.10) + 0.20 * water + (0.08 if patient.view == "AP" else 0.0)
    tree = vessels(draw, chest.sheet, plump)
    coarse, fine = cloud(draw, size, 9), cloud(draw, size, 60)
    clear = lungs * (1 - 0.75 * heart)  # where a shadow in the lung is not hidden by the heart
    stroma = draw.uniform(0.006, 0.030)  # how coarse the tissue is without any finding
    paths = lungs * tree * (1 - 0.6 * heart) * (draw.normal(0.20, 0.02) + 0.03 * water)
    paths += clear * (draw.uniform(0, 0.035) + stroma * fine + 0.02 * coarse)
    roots = bell((chest.across - 0.17) / 0.09) * bell((chest.sheet.y - 0.03) / 0.14)
    paths += lungs * roots * draw.uniform(0.05, 0.10)
    if water:
        paths += clear * edema(draw, chest, water, coarse, fine)
    if solid := sick.get("Consolidation", 0.0):
        paths += clear * consolidation(draw, chest, solid, (coarse, fine), tree)
    if collapse := sick.get("Atelectasis", 0.0):
        paths += clear * atelectasis(draw, chest, collapse)
    if fluid := sick.get("Pleural Effusion", 0.0):
        paths += clear * effusion(draw, chest, fluid)
    return paths


def expose(
    draw: np.random.Generator, site: Site, paths: Plane, body: Plane, size: int
) -> Image.Image:
    """The film: exposure, haze, tone, and noise that is stronger where little dose arrives."""
    flood, fog = draw.normal(site.exposure, 0.05), draw.normal(0.0, 0.025)
    dense = np.clip(paths * np.float32(flood) + np.float32(fog), 0, 1.15) / 1.1
    hazy = dense * (1 - site.scatter) + site.scatter * (0.35 + 0.25 * body)
    toned = np.power(np.clip(hazy, 0.001, 1), np.float32(site.gamma * draw.normal(1, 0.04)))
    large = Image.fromarray(toned.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    picture = np.asarray(large, dtype=np.float32)
    grain = draw.standard_normal((size, size), dtype=np.float32)
    grain *= np.float32(site.noise * draw.uniform(0.8, 1.2)) * (0.55 + 0.9 * picture)
    return Image.fromarray(np.clip((picture + grain) * 255, 0, 255).astype(np.uint8))


def render(draw: np.random.Generator, site: Site, patient: Patient, size: int) -> Image.Image:
    """The radiograph of one patient at one site: 8-bit grey, bright where much was absorbed.

    1. frame and lungs  2. trunk  3. heart  4. bones  5. vessels and findings  6. detector
    """
    sick, bedside = patient.severity, patient.view == "AP"
    sheet = Sheet(draw, max(64, round(size * DETAIL)))
    chest = breathe(draw, sheet, sick.get("Atelectasis", 0.0), bedside=bedside)
    shoulders = 0.30 + 0.74 * step(sheet.y + 0.80 + 0.12 * chest.across, 0.035)
    body = step(shoulders - chest.across, 0.02)
    paths = soft_tissue(draw, chest, body, breasts=patient.sex == "Female")
    age = patient.age or 57
    ratio = draw.normal(0.445, 0.029) + (0.022 if bedside else 0.0) + 0.0004 * (age - 57)
    heart, reach = heart_reach(draw, chest, ratio + 0.108 * sick.get("Cardiomegaly", 0.0))
    paths += mediastinum(draw, chest, heart, reach, age)
    paths += bones(sheet, draw, chest.across, chest.wall)
    paths += in_the_lungs(draw, chest, patient, heart)
    film = expose(draw, site, paths, body, size)
    return mark(film, sheet, draw, bedside=bedside)


def mark(
    film: Image.Image, sheet: Sheet, draw: np.random.Generator, *, bedside: bool
) -> Image.Image:
    """The film with its side marker, and with leads and a line where it was taken in bed."""
    pen = ImageDraw.Draw(film)
    unit = film.size[0] / 320
    left, top = (293 + draw.normal(0, 4)) * unit, (22 + draw.normal(0, 5)) * unit
    pen.line(
        (left, top, left, top + 11 * unit, left + 7 * unit, top + 11 * unit), fill=238, width=2
    )
    if bedside:
        for _ in range(int(draw.integers(1, 4))):
            at = (draw.uniform(-0.6, 0.6), draw.uniform(-0.5, 0.6))
            lead = [(at[0] + 0.25 * t * t, at[1] - 1.2 * t) for t in np.linspace(0, 1, 8)]
            pen.line([sheet.pixel(*point) for point in lead], fill=215, width=1)
            middle = sheet.pixel(*at)
            pen.ellipse(
                [*(m - 3 * unit for m in middle), *(m + 3 * unit for m in middle)], fill=225
            )
    return film


def one_case(site: Site, name: str, seed: int, size: int, index: int) -> tuple[list[str], bytes]:
    """Row and PNG of case `index`, whatever other cases there are."""
    salt = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    draw = np.random.default_rng([seed, salt, index])
    patient = draw_patient(draw, site, index)
    labels = read_labels(draw, site, patient)
    path = f"{ROOT_FOLDER}/patient{index + 1:05d}/study1/view1_frontal.png"
    age = "" if patient.age is None else str(patient.age)
    row = [path, patient.sex, age, "Frontal", patient.view, *(labels[n] for n in OBSERVATIONS)]
    png = io.BytesIO()
    # grain has no repeats to look for: Huffman codes alone are faster, and smaller
    film = render(draw, site, patient, size)
    film.save(png, "PNG", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
    return row, png.getvalue()


def cases(
    site: Site, name: str, seed: int, number: int, size: int
) -> Iterator[tuple[list[str], bytes]]:
    """Row and PNG of each case in order, made by all cores, a bounded number ahead."""
    make = partial(one_case, site, name, seed, size)
    cores = len(os.sched_getaffinity(0))
    if cores == 1 or number < 2 * AHEAD // 10:
        yield from map(make, range(number))
        return
    # Ctrl-C is this process's own, which then ends the others
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(cores, initializer=signal.signal, initargs=ignoring) as pool:
        for start in range(0, number, AHEAD):
            yield from pool.map(make, range(start, min(start + AHEAD, number)), chunksize=5)


def write_dataset(
    out: Path, site: Site, name: str, *, seed: int, number: int, size: int = 320
) -> None:
    """Write `out/images/…` and `out/labels.csv`."""
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(COLUMNS)
        for row, png in cases(site, name, seed, number, size):
            target = images / row[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(png)
            table.writerow(row)


def pack_demo(out: Path, archive: Path) -> None:
    """Pack a written dataset as a demo dataset; the same dataset gives the same bytes."""
    paths = out / "paths.yaml"
    paths.write_text("data_path: images\nlabels_path: labels.csv\n", encoding="utf-8")
    with (out / "labels.csv").open(encoding="utf-8", newline="") as source:
        pictures = [out / "images" / row["Path"] for row in csv.DictReader(source)]
    members = [paths, out / "labels.csv", *pictures]
    with (
        archive.open("wb") as sink,
        gzip.GzipFile("", "wb", 6, sink, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for member in members:
            entry = tarfile.TarInfo(member.relative_to(out).as_posix())
            entry.size, entry.mode = member.stat().st_size, 0o644
            with member.open("rb") as source:
                tar.addfile(entry, source)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--cases", type=int, default=200, help="number of cases (default: 200)")
    parser.add_argument("--seed", type=int, default=7, help="whole number >= 0 (default: 7)")
    parser.add_argument(
        "--site", default=DEMO_SITE, help="name of a site; it sets the shifts below"
    )
    parser.add_argument("--size", type=int, default=320, help="edge in pixels (default: 320)")
    for name in (
        "exposure",
        "gamma",
        "noise",
        "scatter",
        "bedside",
        "age",
        "uncertain",
        "mistakes",
        "blank",
    ):
        parser.add_argument(f"--{name}", type=float, help="instead of the site's own")
    parser.add_argument(
        "--prevalence", type=float, help="factor on the site's share of each finding"
    )
    parser.add_argument(
        "--demo", type=Path, metavar="FILE", help="pack a demo dataset (.tar.gz) too"
    )
    options = parser.parse_args(arguments)
    if options.cases < 1 or options.seed < 0 or options.size < 64:
        parser.error("--cases must be at least 1, --seed at least 0, --size at least 64")
    return options


def main(arguments: list[str]) -> None:
    """Write the dataset that the arguments describe."""
    options = parse(arguments)
    site = site_of(options.site)
    chosen: dict[str, Any] = {
        f.name: value
        for f in fields(Site)
        if isinstance(value := getattr(options, f.name, None), float) and f.name != "prevalence"
    }
    if options.prevalence is not None:
        chosen["prevalence"] = {
            name: min(0.95, rate * options.prevalence) for name, rate in site.prevalence.items()
        }
    site = replace(site, **chosen)
    write_dataset(
        options.out, site, options.site, seed=options.seed, number=options.cases, size=options.size
    )
    if options.demo is not None:
        pack_demo(options.out, options.demo)
    print(f"{options.cases} cases in {options.out}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
