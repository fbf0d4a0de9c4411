"""Types of the compiled extension; its functions are private (see _ops.py)."""

from typing import Any

from torch import Tensor

def info_nce_forward(
    query: Tensor,
    key: Tensor,
    target: Tensor | None,
    negatives: Tensor | None,
    key_bias: Tensor | None,
    key_ids: Tensor | None,
    weights: Tensor | None,
    temperature_tensor: Tensor | None,
    temperature: float,
    similarity: str,
    margin: float,
    options: list[float],
    reduction: str,
    wanted: list[bool],
    workspace: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]: ...
def info_nce_backward(
    grad_loss: Tensor,
    rows: Tensor,
    query: Tensor,
    key: Tensor,
    target: Tensor | None,
    negatives: Tensor | None,
    key_bias: Tensor | None,
    key_ids: Tensor | None,
    weights: Tensor | None,
    temperature_tensor: Tensor | None,
    temperature: float,
    similarity: str,
    margin: float,
    options: list[float],
    wanted: list[bool],
    workspace: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]: ...
def negatives_gradient(query: Tensor, negatives: Tensor, own: Tensor, scale: Tensor) -> Tensor: ...
def build_facts() -> dict[str, Any]: ...
def set_simd(name: str) -> None: ...
def set_matrix_product(name: str) -> None: ...
def multiply_adds() -> int: ...
