"""The demonstration: one real project from the package index, learnt and judged in minutes."""

from foretest.demo.play import Shown, run_demo

__all__ = ["Shown", "run_demo"]
