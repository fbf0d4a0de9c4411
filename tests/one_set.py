"""What the losses of one set of embeddings share: scores of the set, bounds."""

from __future__ import annotations

import torch

from fastloss._workspace import current_workspace_limit
from pairwise import euclidean_similarity


def scores_of_one_set(rows, others, similarity):
    """Euclidean similarities of the rows with each other and with others, from matrix products."""
    of_rows = euclidean_similarity(rows, rows, similarity)
    if others is None:
        return of_rows
    return torch.cat([of_rows, euclidean_similarity(rows, others, similarity)], dim=1)


def set_memory_bound(arguments, wrt, operands):
    """Bytes beside the workspace: accumulators, returned gradients, O(n + k) vectors."""
    tensors = [arguments[name] for name in wrt]
    accumulators = sum(max(t.element_size(), 4) * t.numel() for t in tensors)
    returned = sum(t.element_size() * t.numel() for t in tensors)
    rows = sum(len(arguments[name]) for name in operands if arguments.get(name) is not None)
    return accumulators + returned + 16 * 8 * rows + 64 * 1024


def set_products(n, k, d, rows, others, gradients, none, itself=True):
    """Multiply-adds for n rows with each other, if `itself`, and with k others: (least, most).

    Scores are half of n², and once more for what of them did not fit the workspace, or for "none";
    the gradient of `rows` takes all of n² and n · k, that of `others` n · k.
    """
    block = 128  # of rows: its scores with itself are computed in full
    half = n * (n + 1) // 2 if itself else 0
    half_of_blocks = n * (n + block) // 2 if itself else 0
    of_rows = (n * n if itself else 0) + n * k
    products = rows * of_rows + others * n * k
    least = half + n * k + products
    most = half_of_blocks + n * k + products
    fits = 4 * (half_of_blocks + n * k) <= current_workspace_limit() // 2
    if none and gradients:
        least += half + n * k
    if gradients and (none or not fits):
        most += half_of_blocks + n * k

    def padded(count):
        # Rows are padded to 16, columns and features to 32.
        width = -(-d // 32) * 32
        return count * width + (16 * n + 32 * n + 32 * k) * width * (1 + rows + others)

    return least * d, padded(most)
