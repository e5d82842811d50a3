"""How good stated probabilities are: order, distance, calibration; cases may carry weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLOSEST = 1e-9
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken."""


def auc(p: Floats, y: Floats, w: Floats) -> float:
    """P(a case that happened is given more than one that did not), ties half; NaN without both."""
    order = np.argsort(p, kind="stable")
    p, y, w = p[order], y[order], w[order]
    happened, not_happened = w * y, w * (1 - y)
    starts = np.flatnonzero(np.diff(p, prepend=-np.inf))
    above = np.add.reduceat(happened, starts) if len(p) else happened
    below = np.add.reduceat(not_happened, starts) if len(p) else not_happened
    total = happened.sum() * not_happened.sum()
    if not total:
        return float("nan")
    before = np.cumsum(below) - below
    return float((above * (before + below / 2)).sum() / total)


def brier(p: Floats, y: Floats, w: Floats) -> float:
    """Mean squared distance of the probability and what happened (0 is best)."""
    return float((w * (p - y) ** 2).sum() / w.sum())


def log_loss(p: Floats, y: Floats, w: Floats) -> float:
    """Mean negative logarithm of the probability given to what happened, in nats."""
    p = np.clip(p, CLOSEST, 1 - CLOSEST)
    return float(-(w * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum() / w.sum())


def calibration_slope(p: Floats, y: Floats, w: Floats) -> float:
    """Slope of what happened on the logit (Cox 1958): 1 is right, less is too sure of itself.

    NaN where all probabilities are the same.
    """
    p = np.clip(p, CLOSEST, 1 - CLOSEST)
    logit = np.log(p / (1 - p))
    if np.ptp(logit) < 1e-9:
        return float("nan")
    return float(logistic(logit[:, None], y, w)[1])


def logistic(x: Floats, y: Floats, w: Floats, ridge: float = 1e-6, steps: int = 60) -> Floats:
    """Weighted logistic regression by Newton's method: intercept, then one weight a column.

    `ridge` penalises the squares of the weights, never the intercept; the default only keeps the
    solution finite where the data separate.
    """
    design = np.column_stack((np.ones(len(x)), x))
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 0.0
    found = np.zeros(design.shape[1])
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ found, -30, 30)))
        # Never wholly flat: where every probability is 0 or 1 a step must remain possible.
        curvature = (design.T * (w * np.maximum(p * (1 - p), 1e-9))) @ design + np.diag(penalty)
        slope = design.T @ (w * (y - p)) - penalty * found
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        found += np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < 1e-8:
            break
    return found
