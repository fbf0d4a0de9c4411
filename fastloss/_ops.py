"""Registers the extension's functions as ``torch.ops.fastloss.*``.

An operator of torch, unlike a plain extension function, can stand in a compiled graph: its fake
function tells the compiler the shapes without running it. The implementation *is* the pybind11
function. The operators have no autograd kernel and are private; the public functions wrap them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _C, _cuda

_library = torch.library.Library("fastloss", "DEF")
_operators: dict[str, Any] = {}
# By the name of the operator and the device's type.
_kernels: dict[tuple[str, str], Any] = {}

# What the losses with CUDA kernels call besides their own.
_OF_GRADIENTS = ("negatives_gradient", "scaled_gradient")


def _register(name: str, schema: str, fake: Callable[..., Any]) -> None:
    """Register an operator; the extension's function dispatches on the device."""
    stem = name.removesuffix("_forward").removesuffix("_backward")
    on_cuda = _cuda.BUILT and (stem in _cuda.LOSSES or name in _OF_GRADIENTS)
    _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    for device in ("cpu", "cuda") if on_cuda else ("cpu",):
        _kernels[name, device] = getattr(_C, name)
        _library.impl(name, _kernels[name, device], device.upper())
    torch.library.register_fake(f"fastloss::{name}", fake, lib=_library)
    _operators[name] = getattr(torch.ops.fastloss, name).default


def call(name: str, first: Tensor, *arguments: Any) -> Any:
    """Call an operator; where nobody looks at operators, its implementation at once.

    The dispatcher would be felt at a small batch (n = 64). Those who look are a compiler, a
    dispatch mode, a tensor subclass (fake tensors among them) and devices without an
    implementation.
    """
    if (
        not torch.compiler.is_compiling()
        and (type(first) is Tensor or type(first) is torch.nn.Parameter)
        and torch._C._len_torch_dispatch_stack() == 0
        and (kernel := _kernels.get((name, first.device.type))) is not None
    ):
        return kernel(first, *arguments)
    return _operators[name](first, *arguments)


def _register_pairwise(stem: str, arguments: str, rows: Callable[[int], Any], wrt: str) -> None:
    """Register <stem>_forward and <stem>_backward.

    Args:
        stem: the loss.
        arguments: the schema of its tensors and options, the two embedding sets first.
        rows: number of queries → shape of the functor's rows, which backward needs.
        wrt: the arguments that may require grad, in the order of the kernel's gradients.
    """
    names = [argument.split()[-1] for argument in arguments.split(", ")]
    differentiable = [names.index(name) for name in wrt.split()]
    count = len(differentiable)

    def gradients(tensors: list[Any], wanted: list[bool]) -> list[Tensor]:
        dtype = torch.promote_types(tensors[0].dtype, torch.float32)
        shapes: list[Any] = []
        for i, want in zip(differentiable, wanted, strict=True):
            if not want:
                shapes.append((0,))
            elif names[i] == "negatives":  # coefficients
                shapes.append((*tensors[i].shape[:2], 2))
            else:
                shapes.append(tensors[i].shape)
        return [tensors[0].new_empty(shape, dtype=dtype) for shape in shapes]

    def forward_fake(*args):  # type: ignore[no-untyped-def]
        *tensors, reduction, wanted, _ = args
        query = tensors[0]
        n, dtype = query.shape[0], torch.promote_types(query.dtype, torch.float32)
        loss = query.new_empty((n,) if reduction == "none" else (), dtype=dtype)
        return (loss, query.new_empty(rows(n), dtype=dtype), *gradients(tensors, wanted))

    def backward_fake(*args):  # type: ignore[no-untyped-def]
        _, _, *tensors, wanted, _ = args
        return tuple(gradients(tensors, wanted))

    results = ", ".join(["Tensor"] * count)
    _register(
        f"{stem}_forward",
        f"({arguments}, str reduction, bool[] wanted, int workspace)"
        f" -> (Tensor, Tensor, {results})",
        forward_fake,
    )
    _register(
        f"{stem}_backward",
        f"(Tensor grad_loss, Tensor rows, {arguments}, bool[] wanted, int workspace)"
        f" -> ({results})",
        backward_fake,
    )


def _register_recomputed(
    stem: str, arguments: str, rows: Callable[..., Any], saved: Callable[..., Any]
) -> None:
    """Register <stem>_forward and <stem>_backward of a loss whose backward reads its input again.

    Args:
        stem: the loss.
        arguments: the schema of its tensors and options, the differentiable one first.
        rows: tensors and options → shape of the losses with reduction "none".
        saved: tensors and options → shape of what the forward pass keeps for backward.
    """

    def forward_fake(*args):  # type: ignore[no-untyped-def]
        *given, reduction = args
        dtype = torch.promote_types(given[0].dtype, torch.float32)
        shape = rows(*given) if reduction == "none" else ()
        return (
            given[0].new_empty(shape, dtype=dtype),
            given[0].new_empty(saved(*given), dtype=dtype),
        )

    def backward_fake(grad_loss, saved, first, *args):  # type: ignore[no-untyped-def]
        return torch.empty_like(first, memory_format=torch.contiguous_format)

    _register(f"{stem}_forward", f"({arguments}, str reduction) -> (Tensor, Tensor)", forward_fake)
    _register(
        f"{stem}_backward",
        f"(Tensor grad_loss, Tensor saved, {arguments}, str reduction) -> Tensor",
        backward_fake,
    )


def _register_sampled(stem: str, arguments: str, wrt: str) -> None:
    """Register <stem>_forward of a loss of sampled rows, which gives its gradients at once.

    Args:
        stem: the loss.
        arguments: the schema of its tensors and options, the positive scores first.
        wrt: the arguments that may require grad, in the order of the kernel's gradients. A 0-dim
            one has a gradient a row with reduction "none".
    """
    names = [argument.split()[-1] for argument in arguments.split(", ")]
    differentiable = [names.index(name) for name in wrt.split()]

    def fake(*args):  # type: ignore[no-untyped-def]
        *given, reduction, wanted = args
        positive = given[0]
        dtype = torch.promote_types(positive.dtype, torch.float32)
        reduced = (positive.shape[0],) if reduction == "none" else ()
        shapes = [
            (given[i].shape or reduced) if want else (0,)
            for i, want in zip(differentiable, wanted, strict=True)
        ]
        return tuple(positive.new_empty(shape, dtype=dtype) for shape in (reduced, *shapes))

    results = ", ".join(["Tensor"] * (1 + len(differentiable)))
    _register(
        f"{stem}_forward", f"({arguments}, str reduction, bool[] wanted) -> ({results})", fake
    )


def _register_rowwise(
    stem: str, arguments: str, operands: int, distances: Callable[..., Any]
) -> None:
    """Register <stem>_forward and <stem>_backward of a loss of rows against rows.

    Args:
        stem: the loss.
        arguments: the schema of its tensors and options, the operands first.
        operands: how many of them there are, which may require grad.
        distances: the operands → how many distances a row has.
    """

    def forward_fake(*args):  # type: ignore[no-untyped-def]
        *given, reduction = args
        first = given[0]
        n, dtype = first.shape[0], torch.promote_types(first.dtype, torch.float32)
        return (
            first.new_empty((n,) if reduction == "none" else (), dtype=dtype),
            first.new_empty((n, distances(*given[:operands])), dtype=dtype),
        )

    def backward_fake(grad_loss, saved, *args):  # type: ignore[no-untyped-def]
        *given, _, wanted = args
        return tuple(
            operand.new_empty(operand.shape if want else (0,))
            for operand, want in zip(given[:operands], wanted, strict=True)
        )

    _register(f"{stem}_forward", f"({arguments}, str reduction) -> (Tensor, Tensor)", forward_fake)
    _register(
        f"{stem}_backward",
        f"(Tensor grad_loss, Tensor saved, {arguments}, str reduction, bool[] wanted)"
        f" -> ({', '.join(['Tensor'] * operands)})",
        backward_fake,
    )


def _without_classes(input: Tensor) -> tuple[int, ...]:
    return (*input.shape[:1], *input.shape[2:]) if input.dim() > 1 else ()


_LABELLED = "Tensor embeddings, Tensor labels, Tensor? ref_embeddings, Tensor? ref_labels"
_register_pairwise(
    "batch_all_triplet_loss",
    f"{_LABELLED}, str similarity, float margin, bool softplus, bool active",
    rows=lambda n: (0,),
    wrt="embeddings ref_embeddings",
)
_register_pairwise(
    "clip_loss",
    "Tensor image, Tensor text, Tensor? key_ids, Tensor? weights, Tensor? logit_scale_tensor, "
    "float logit_scale, str similarity, float label_smoothing",
    rows=lambda n: (2, n, 5),
    wrt="image text logit_scale_tensor",
)
_register_pairwise(
    "in_batch_bpr_loss",
    "Tensor query, Tensor key, Tensor? key_ids, Tensor? weights, Tensor? temperature_tensor, "
    "float temperature, str similarity",
    rows=lambda n: (n, 3),
    wrt="query key temperature_tensor",
)
_register_pairwise(
    "in_batch_hinge_loss",
    "Tensor query, Tensor key, Tensor? key_ids, Tensor? weights, Tensor? temperature_tensor, "
    "float temperature, str similarity, float margin",
    rows=lambda n: (n, 3),
    wrt="query key temperature_tensor",
)
_register_pairwise(
    "info_nce",
    "Tensor query, Tensor key, Tensor? target, Tensor? negatives, Tensor? key_bias, "
    "Tensor? key_ids, Tensor? weights, Tensor? temperature_tensor, float temperature, "
    "str similarity, float margin, float label_smoothing, bool decoupled",
    rows=lambda n: (n, 5),
    wrt="query key negatives key_bias temperature_tensor",
)
_register_pairwise(
    "linear_cross_entropy",
    "Tensor input, Tensor linear_weight, Tensor target, Tensor? linear_bias, Tensor? weight, "
    "int? ignore_index, float label_smoothing",
    rows=lambda n: (n, 6),
    wrt="input linear_weight linear_bias",
)
_register_pairwise(
    "nt_xent",
    "Tensor views, Tensor? queue, Tensor? weights, Tensor? temperature_tensor, float temperature, "
    "str similarity, bool decoupled",
    rows=lambda n: (n, 5),
    wrt="views queue temperature_tensor",
)
_register_pairwise(
    "pairwise_contrastive_loss",
    "Tensor embeddings, Tensor labels, Tensor? ref_embeddings, Tensor? ref_labels, float margin, "
    "float scale, str negative_term, str similarity",
    rows=lambda n: (n, 1),
    wrt="embeddings ref_embeddings",
)
_register_pairwise(
    "pairwise_logsumexp",
    "Tensor query, Tensor key, Tensor? key_bias, Tensor? temperature_tensor, float temperature, "
    "str similarity",
    rows=lambda n: (n, 4),
    wrt="query key key_bias temperature_tensor",
)
_register_pairwise(
    "siglip_loss",
    "Tensor image, Tensor text, Tensor? target, Tensor? key_ids, Tensor? weights, "
    "Tensor? logit_scale_tensor, Tensor? logit_bias_tensor, float logit_scale, float logit_bias, "
    "str similarity",
    rows=lambda n: (n, 4),
    wrt="image text logit_scale_tensor logit_bias_tensor",
)
_register_pairwise(
    "sup_con",
    "Tensor embeddings, Tensor labels, Tensor? ref_embeddings, Tensor? ref_labels, "
    "Tensor? weights, Tensor? temperature_tensor, float temperature, str similarity",
    rows=lambda n: (n, 5),
    wrt="embeddings ref_embeddings temperature_tensor",
)
_register_pairwise(
    "semi_hard_triplet_loss",
    f"{_LABELLED}, str similarity, float margin",
    rows=lambda n: (0,),
    wrt="embeddings ref_embeddings",
)
_register(
    "triplet_statistics",
    f"({_LABELLED}, str similarity, float margin, int workspace) -> (Tensor, Tensor)",
    lambda embeddings, labels, *_: (
        labels.new_empty((4,)),
        embeddings.new_empty((2,), dtype=torch.promote_types(embeddings.dtype, torch.float32)),
    ),
)


def _register_listwise(stem: str, options: str) -> None:
    """Register <stem>_forward of a listwise loss; `options` is the schema of its own arguments."""

    def forward_fake(*args):  # type: ignore[no-untyped-def]
        scores, _, _, offsets, *_, reduction, wanted = args
        dtype = torch.promote_types(scores.dtype, torch.float32)
        if offsets is not None:
            lists = offsets.shape[0] - 1
        else:
            lists = scores.shape[0] if scores.dim() == 2 else 1
        loss = scores.new_empty((lists,) if reduction == "none" else (), dtype=dtype)
        return loss, scores.new_empty(scores.shape if wanted else (0,), dtype=dtype)

    _register(
        f"{stem}_forward",
        "(Tensor scores, Tensor labels, Tensor? where, Tensor? offsets, Tensor? weights, "
        f"Tensor? list_weights, {options}, str reduction, bool wanted) -> (Tensor, Tensor)",
        forward_fake,
    )


_register_listwise("listnet_loss", "str target, float label_temperature, str gain")
_register_listwise("pairwise_hinge_loss", "float margin, int power, bool label_diff, str method")
_register_listwise(
    "ranknet_loss", "float sigma, bool ties_half, bool label_diff, str method, float scale"
)
_register(
    "listwise_backward",
    "(Tensor grad_loss, Tensor gradient, Tensor? offsets, ScalarType dtype) -> Tensor",
    lambda grad_loss, gradient, offsets, dtype: torch.empty_like(
        gradient, dtype=dtype, memory_format=torch.contiguous_format
    ),
)
_register(
    "negatives_gradient",
    "(Tensor query, Tensor negatives, Tensor own, Tensor scale) -> Tensor",
    lambda query, negatives, own, scale: torch.empty_like(
        negatives, memory_format=torch.contiguous_format
    ),
)
_register(
    "scaled_gradient",
    "(Tensor gradient, Tensor scale, ScalarType dtype) -> Tensor",
    lambda gradient, scale, dtype: torch.empty_like(
        gradient, dtype=dtype, memory_format=torch.contiguous_format
    ),
)
_register_recomputed(
    "binary_cross_entropy",
    "Tensor input, Tensor target, Tensor? weight",
    rows=lambda input, *_: input.shape,
    saved=lambda *_: (1,),
)
_register_recomputed(
    "binary_cross_entropy_with_logits",
    "Tensor input, Tensor target, Tensor? weight, Tensor? pos_weight",
    rows=lambda input, *_: input.shape,
    saved=lambda *_: (1,),
)
_register_recomputed(
    "cross_entropy",
    "Tensor input, Tensor target, Tensor? weight, int? ignore_index, float label_smoothing",
    rows=lambda input, *_: _without_classes(input),
    saved=lambda input, target, *_: (
        5 if target.is_floating_point() else 6,
        math.prod(_without_classes(input)),
    ),
)
_register_recomputed(
    "hinge_loss",
    "Tensor scores, Tensor labels, Tensor? weights",
    rows=lambda scores, *_: scores.shape,
    saved=lambda *_: (1,),
)
_register_recomputed(
    "kl_div_with_logits",
    "Tensor input, Tensor target, str direction, bool log_target",
    rows=lambda input, *_: _without_classes(input),
    saved=lambda input, *_: (4, math.prod(_without_classes(input))),
)
_register_sampled(
    "bpr_loss",
    "Tensor positive, Tensor negative, Tensor? positive_where, Tensor? negative_where, "
    "Tensor? weights",
    wrt="positive negative",
)
_register_sampled(
    "pairwise_margin_loss",
    "Tensor positive, Tensor negative, Tensor? positive_where, Tensor? negative_where, "
    "Tensor? weights, float margin",
    wrt="positive negative",
)
_register_sampled(
    "sampled_softmax_loss",
    "Tensor positive, Tensor negative, Tensor? positive_log_q, Tensor? negative_log_q, "
    "Tensor? negative_where, Tensor? weights, Tensor? temperature_tensor, float temperature",
    wrt="positive negative temperature_tensor",
)
_register_rowwise(
    "contrastive_loss",
    "Tensor x1, Tensor x2, Tensor label, float margin, int similar_label, str negative_term, "
    "float scale, str similarity",
    operands=2,
    distances=lambda *_: 1,
)
_register_rowwise(
    "labelled_triplet_loss",
    "Tensor anchor, Tensor positive, Tensor negative, Tensor label, float margin, str hinge",
    operands=3,
    distances=lambda *_: 1,
)
_register_rowwise(
    "triplet_margin_loss",
    "Tensor anchor, Tensor positive, Tensor negative, Tensor? weights, float margin, "
    "str similarity, float p, float eps, bool swap, str hinge",
    operands=3,
    distances=lambda anchor, positive, negative: negative.shape[1],
)


def _batch_hard_forward_fake(embeddings, *args):  # type: ignore[no-untyped-def]
    *_, reduction, _ = args
    n, dtype = embeddings.shape[0], torch.promote_types(embeddings.dtype, torch.float32)
    return (
        embeddings.new_empty((n,) if reduction == "none" else (), dtype=dtype),
        embeddings.new_empty((n, 2), dtype=torch.int64),
    )


def _batch_hard_backward_fake(  # type: ignore[no-untyped-def]
    grad_loss, chosen, embeddings, ref_embeddings, *args
):
    *_, wanted = args
    return tuple(
        embeddings.new_empty(operand.shape if want else (0,))
        for operand, want in zip((embeddings, ref_embeddings), wanted, strict=True)
    )


_register(
    "batch_hard_triplet_loss_forward",
    "(Tensor embeddings, Tensor labels, Tensor? ref_embeddings, Tensor? ref_labels, float margin, "
    "str similarity, str hinge, str anchors, str reduction, int workspace) -> (Tensor, Tensor)",
    _batch_hard_forward_fake,
)
_register(
    "batch_hard_triplet_loss_backward",
    "(Tensor grad_loss, Tensor chosen, Tensor embeddings, Tensor? ref_embeddings, float margin, "
    "str similarity, str hinge, str anchors, str reduction, bool[] wanted) -> (Tensor, Tensor)",
    _batch_hard_backward_fake,
)
