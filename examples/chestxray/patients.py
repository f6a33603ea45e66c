"""Who is on the films: a site's patients, their findings, and what a reader writes about them.

A label is what a reader would write. Findings have a severity; faint ones are sometimes called
uncertain (-1) or missed, and what a report does not mention is blank.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np

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
DEMO_SITE = "demo"


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
