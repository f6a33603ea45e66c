"""Radiographs: a sum of path lengths through tissue, as a real one is.

`anatomy`, plus what the findings add; then exposure, scatter and noise.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from anatomy import (
    Chest,
    Plane,
    Sheet,
    bell,
    bones,
    breathe,
    cloud,
    heart_reach,
    mediastinum,
    soft_tissue,
    step,
    vessels,
)
from patients import Patient, Site

DETAIL = 0.7  # tissue is drawn this fine and enlarged, as a detector blurs; grain is at full size


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
