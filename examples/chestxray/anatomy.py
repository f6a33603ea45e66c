"""A chest without findings, as path lengths through its tissue on a film.

Thorax, less the air of the lungs, plus heart, bones and vessels; each is drawn for one patient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.floating[Any]]


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
