"""Cubes, their assets, and the engines that run them.

Everything between a manifest and a task's output.
"""
