"""The slope of a series that has outliers: Theil-Sen, the median of the slopes between all pairs.

Source: H. Theil, A rank-invariant method of linear and polynomial regression analysis (1950); P. K. Sen,
Estimates of the regression coefficient based on Kendall's tau (1968).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

__all__ = ["slope_of"]


def slope_of(values: Sequence[float]) -> float:
    """Return by how much a value grows per step; a single step up, however high, is none."""
    return median((b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(values), 2))
