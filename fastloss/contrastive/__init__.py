"""Losses of the scores of two embedding sets."""

from .info_nce import info_nce

__all__ = ["info_nce"]
