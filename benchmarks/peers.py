"""Packages that a user might pick instead: sides where they are installed, skipped where not.

On the CPU: pykeops (a lazy log-sum-exp), info-nce-pytorch, open_clip's loss, lightly's NT-Xent,
pytorch-metric-learning's NT-Xent, SupCon, batch-hard triplets and pairs, allRank's losses, and
those of rax, which JAX compiles and runs on all cores whatever `--threads` says. On CUDA also
memeff, Inf-CL, cut-cross-entropy and Liger's fused linear cross-entropy (not verified on hardware).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from .cases import (
    ALLRANK,
    FORWARD,
    LABELLED,
    LISTS,
    METRIC_LEARNING,
    ONE_SET,
    RAX,
    TRIPLET_MARGIN,
    TRIPLETS,
    Case,
)
from .labelled import margin
from .lists import require_time
from .sides import (
    Inputs,
    Loss,
    Result,
    Setting,
    Side,
    Unavailable,
    guarded,
    require_memory,
    time_only,
    with_autograd,
)

KEOPS_LIMIT = 1 << 31  # n · m · d; beyond, a call takes many seconds on a CPU
OPEN_CLIP_BLOCKS = 8  # of images and of texts
METRIC_LEARNING_LIMIT = 1 << 30  # triplets before labels are asked for; it lists those that remain
ALLRANK_LIMIT = 1 << 24  # pairs of all lists, whose indices it lists in Python

Factory = Callable[[Case, Inputs, Any], Loss]


def sides(case: Case) -> dict[str, Side]:
    peers: dict[str, Side] = {}
    if case.loss == "info_nce" and case.similarity == "cosine":  # it always normalises
        peers["info-nce-pytorch"] = _peer("info_nce", _info_nce_pytorch)
    if case.loss == "info_nce" and case.similarity == "dot" and case.n == case.m:
        peers["pykeops"] = _peer("pykeops.torch", _pykeops, matrices=0)
    if case.loss == "pairwise_logsumexp" and case.similarity == "dot":
        peers["pykeops"] = _peer("pykeops.torch", _pykeops_logsumexp, matrices=0)
    if case.loss == "clip_loss" and case.similarity == "dot":
        peers["open_clip"] = _peer("open_clip.loss", _open_clip, matrices=2)
    if case.loss == "siglip_loss" and case.similarity == "dot":
        peers["open_clip"] = _peer("open_clip.loss", _open_clip_sigmoid, matrices=2)
        if case.n == case.m and case.n % OPEN_CLIP_BLOCKS == 0:
            peers["open_clip, blocks"] = _peer("open_clip.loss", _open_clip_blocks, matrices=2)
    if case.loss == "clip_loss" and case.similarity == "cosine" and case.device == "cuda":
        peers["memeff"] = _peer("memeff", _memeff, matrices=0)
    if (
        case.loss in ("clip_loss", "info_nce")
        and case.similarity == "dot"
        and case.device == "cuda"
    ):
        peers["Inf-CL"] = _peer("inf_cl.flash", _inf_cl, matrices=0)
    if case.loss in ("ranknet_loss", "listnet_loss") and case.full:
        peers[ALLRANK] = _peer("allrank.models.losses", _allrank, matrices=4)
    if case.loss in LISTS and case.power == 1 and case.device == "cpu" and case.full:
        peers[RAX] = Side(_rax, compiles=True)
    if case.loss == "nt_xent" and case.similarity == "cosine":
        peers["lightly"] = _peer("lightly.loss", _lightly)
    if case.loss in LABELLED:
        # Distances, the mask of each kind, and lists of pairs: two numbers of 8 bytes each.
        peers[METRIC_LEARNING] = _peer("pytorch_metric_learning.losses", _metric_learning_pairs, 8)
    elif case.loss in ONE_SET and case.similarity == "cosine":
        # Masks and products of masks and scores, all n × n.
        peers[METRIC_LEARNING] = _peer("pytorch_metric_learning.losses", _metric_learning, 4)
    if case.loss in TRIPLETS and not case.half and case.n**3 <= METRIC_LEARNING_LIMIT:
        peers[METRIC_LEARNING] = Side(_metric_learning_triplets, sparing=True)
    if case.loss == "linear_cross_entropy" and case.device == "cuda":
        peers["cut-cross-entropy"] = _peer("cut_cross_entropy", _cut_cross_entropy, matrices=0)
        peers["Liger"] = _peer("liger_kernel.transformers.functional", _liger, matrices=0)
    return peers


def _imported(package: str) -> Any:
    name = package.partition(".")[0]
    try:
        return import_module(package)
    except ImportError as error:
        missing = (error.name or name).partition(".")[0]
        if missing == name:
            raise Unavailable(f"{name} is not installed") from error
        raise Unavailable(f"{name} needs {missing}, which is not installed") from error
    except Exception as error:  # a package built against another torch, say
        raise Unavailable(f"{name} cannot be imported: {type(error).__name__}") from error


def _peer(package: str, factory: Factory, matrices: int = 1) -> Side:
    def build(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
        module = _imported(package)
        if matrices:
            require_memory(case, mode, matrices)
        elif case.device == "cpu" and case.n * case.m * case.d > KEOPS_LIMIT:
            raise Unavailable("takes too long at this size on a CPU")
        upstream = None
        if case.loss == "pairwise_logsumexp":
            from .pairwise_logsumexp import upstream as of_rows

            upstream = of_rows(case)
        return guarded(with_autograd(factory(case, inputs, module), inputs, mode, upstream))

    return Side(build, compiles=True)  # KeOps and Triton do


def _info_nce_pytorch(case: Case, inputs: Inputs, module: Any) -> Loss:
    # Positives one to one; every other positive key is a negative, as here.
    return lambda query, key: module.info_nce(query, key, temperature=case.temperature)


def _keops_scores(case: Case, module: Any, query: Tensor, key: Tensor) -> Any:
    rows = module.LazyTensor(query[:, None, :] / case.temperature)
    return (rows * module.LazyTensor(key[None, :, :])).sum(-1)


def _pykeops(case: Case, inputs: Inputs, module: Any) -> Loss:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        lse = _keops_scores(case, module, query, key).logsumexp(dim=1).squeeze(-1)
        return (lse - (query * key).sum(1) / case.temperature).mean()

    return loss


def _pykeops_logsumexp(case: Case, inputs: Inputs, module: Any) -> Loss:
    def loss(query: Tensor, key: Tensor) -> Tensor:
        return _keops_scores(case, module, query, key).logsumexp(dim=1).squeeze(-1)

    return loss


def _open_clip(case: Case, inputs: Inputs, module: Any) -> Loss:
    clip = module.ClipLoss()
    scale = torch.tensor(1 / case.temperature, device=case.device)
    return lambda image, text: clip(image, text, scale)


def _lightly(case: Case, inputs: Inputs, module: Any) -> Loss:
    loss = module.NTXentLoss(temperature=case.temperature)
    return lambda rows: loss(*rows.chunk(2))


def _metric_learning(case: Case, inputs: Inputs, module: Any) -> Loss:
    if case.loss == "sup_con":
        loss, labels = module.SupConLoss(temperature=case.temperature), inputs["labels"]
    else:
        loss = module.NTXentLoss(temperature=case.temperature)
        labels = torch.arange(case.n, device=case.device) % (case.n // 2)
    return lambda rows: loss(rows, labels)


def _open_clip_sigmoid(case: Case, inputs: Inputs, module: Any) -> Loss:
    from .siglip_loss import BIAS

    siglip = module.SigLipLoss()
    return lambda image, text: siglip(image, text, 1 / case.temperature, BIAS)


def _open_clip_blocks(case: Case, inputs: Inputs, module: Any) -> Loss:
    """What its processes do with each other's texts, one after the other."""
    from .siglip_loss import BIAS

    siglip = module.SigLipLoss()

    def loss(image: Tensor, text: Tensor) -> Tensor:
        total = image.new_zeros(())
        for i, images in enumerate(image.chunk(OPEN_CLIP_BLOCKS)):
            for j, texts in enumerate(text.chunk(OPEN_CLIP_BLOCKS)):
                total = total + siglip._loss(
                    images, texts, 1 / case.temperature, BIAS, negative_only=i != j
                )
        return total / OPEN_CLIP_BLOCKS

    return loss


def _metric_learning_pairs(case: Case, inputs: Inputs, module: Any) -> Loss:
    package = module.__name__.partition(".")[0]
    distances, miners, reducers = (
        import_module(f"{package}.{part}") for part in ("distances", "miners", "reducers")
    )
    labels = inputs["labels"]
    if case.similarity == "cosine":
        distance = distances.CosineSimilarity()
    else:
        distance = distances.LpDistance(normalize_embeddings=False)
    if case.loss == "batch_hard_triplet_loss":
        miner = miners.BatchHardMiner(distance=distance)
        loss = module.TripletMarginLoss(1.0, distance=distance, reducer=reducers.MeanReducer())
        return lambda rows: loss(rows, labels, miner(rows, labels))
    kept = {"distance": distance, "reducer": reducers.DoNothingReducer()}
    if case.similarity == "cosine":
        pairs = module.ContrastiveLoss(1.0, 1.0 - margin(case), **kept)
    else:
        pairs = module.ContrastiveLoss(0.0, margin(case), **kept)

    def mean(rows: Tensor) -> Tensor:
        terms = pairs(rows, labels)
        total: Tensor = sum(terms[kind]["losses"].sum() for kind in ("pos_loss", "neg_loss"))
        return total / (case.n * (case.n - 1))

    return mean


def _metric_learning_triplets(
    case: Case, inputs: Inputs, mode: str, setting: Setting
) -> Callable[[], Result]:
    """All triplets; or those its miner finds, all that are semi-hard: another loss, time only."""
    losses = _imported("pytorch_metric_learning.losses")
    distances = _imported("pytorch_metric_learning.distances")
    miners = _imported("pytorch_metric_learning.miners")
    distance = distances.LpDistance(normalize_embeddings=False)
    loss = losses.TripletMarginLoss(margin=TRIPLET_MARGIN, distance=distance)
    miner = miners.TripletMarginMiner(TRIPLET_MARGIN, "semihard", distance=distance)
    labels = inputs["labels"]
    mined = case.loss == "semi_hard_triplet_loss"

    def of_embeddings(embeddings: Tensor) -> Tensor:
        value: Tensor = loss(embeddings, labels, miner(embeddings, labels) if mined else None)
        return value

    run = guarded(with_autograd(of_embeddings, inputs, mode))
    return time_only(run) if mined else run


def _memeff(case: Case, inputs: Inputs, module: Any) -> Loss:
    loss: Loss = module.MemoryEfficientCLIPLoss(temperature=case.temperature)  # it normalises
    return loss


def _inf_cl(case: Case, inputs: Inputs, module: Any) -> Loss:
    scale, width = 1 / case.temperature, min(case.d, 256)  # features a block; divides d

    def one_way(query: Tensor, key: Tensor) -> Tensor:
        return module.cal_flash_loss(query, key, scale=scale, head_dim=width).mean()

    if case.loss == "info_nce":
        return one_way
    return lambda image, text: (one_way(image, text) + one_way(text, image)) / 2


def _cut_cross_entropy(case: Case, inputs: Inputs, module: Any) -> Loss:
    target = inputs["target"]
    return lambda input, weight: module.linear_cross_entropy(input, weight, target)


def _liger(case: Case, inputs: Inputs, module: Any) -> Loss:
    target = inputs["target"]
    return lambda input, weight: module.liger_fused_linear_cross_entropy(input, weight, target)


def _allrank(case: Case, inputs: Inputs, module: Any) -> Loss:
    require_time(case, ALLRANK_LIMIT)
    labels = inputs["labels"]
    function = module.rankNet if case.loss == "ranknet_loss" else module.listNet
    return lambda scores: function(scores, labels)


def _rax(case: Case, inputs: Inputs, mode: str, setting: Setting) -> Callable[[], Result]:
    jax, rax = _imported("jax"), _imported("rax")
    require_time(case)
    if case.loss == "listnet_loss":

        def loss(scores: Any, labels: Any) -> Any:
            return rax.softmax_loss(scores, jax.nn.softmax(labels))

    elif case.loss == "ranknet_loss":
        loss = rax.pairwise_logistic_loss
    else:
        loss = rax.pairwise_hinge_loss
    step = jax.jit(loss if mode == FORWARD else jax.value_and_grad(loss))
    operands = [jax.numpy.asarray(inputs[name].float().numpy()) for name in ("scores", "labels")]

    def run() -> Result:
        result = jax.block_until_ready(step(*operands))
        return tuple(map(from_dlpack, (result,) if mode == FORWARD else result))

    return guarded(run)
