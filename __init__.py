"""MedPerf: a Git registry of medical-AI benchmarks, and the reconciler that carries it out."""

__version__ = "0.1.0"
