"""siglip_loss: its variants, edges and errors. Some images have no text, some texts no image."""

from __future__ import annotations

from dataclasses import replace

import torch

import bad_arguments as bad
import fastloss.reference
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from pair_edges import euclidean_offset_edges, extreme_norm_edges, pair_edges
from pairwise import (
    INF,
    NAN,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    euclidean_similarity,
    pair_invariances,
    pair_memory_bound,
    pair_products,
    with_similarities,
)

OPERANDS = ("image", "text")
NAMES = {"query": "image", "key": "text"}
TENSORS = ("query", "key", "target", "key_ids", "weights")


def draw(generator, dtype, size):
    inputs = draw_pairs(generator, dtype, size._replace(h=0))
    target = inputs["target"].clone()
    target[3::4] = -1
    return {
        "image": inputs["query"],
        "text": inputs["key"],
        "target": target,
        "key_ids": inputs["key_ids"],
        "weights": inputs["weights"],
        "logit_scale": torch.tensor(2.5, dtype=dtype),
        "logit_bias": torch.tensor(-1.2, dtype=dtype),
    }


def variants():
    def named(*names):
        return {name: name for name in names}

    shared = [
        ("plain", {}, {}),
        ("target", {}, named("target")),
        ("ids", {}, named("key_ids", "target")),
        ("weights", {}, named("weights")),
        ("scale tensor", {}, named("logit_scale")),
        ("bias tensor", {}, named("logit_bias", "target")),
        ("rare pairs", {"logit_scale": 10.0, "logit_bias": -10.0}, {}),
        ("sharp", {"logit_scale": 200.0, "logit_bias": -16.0}, {}),
        ("flat", {"logit_scale": 0.05, "logit_bias": 0.0}, {}),
        ("all", {}, named("target", "key_ids", "weights", "logit_scale", "logit_bias")),
    ]
    for similarity, name, options, inputs in with_similarities(shared):
        for number, value in (("logit_scale", 2.5), ("logit_bias", -1.2)):
            if number not in inputs:
                options.setdefault(number, value)  # neither saturated nor flat
        yield Variant(f"{similarity}, {name}", options, inputs)


def eager_siglip_loss(image, text, target=None, *, similarity="cosine", **options):
    """As one writes it in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.siglip_loss(image, text, target, similarity=similarity, **options)
    scores = euclidean_similarity(image, text, similarity)
    # The reference takes rows, not scores: against unit vectors, scores are their own products.
    unit = torch.eye(len(text), dtype=scores.dtype)
    return fastloss.reference.siglip_loss(scores, unit, target, similarity="dot", **options)


def _any_other_text_twice(arguments, generator):
    """The texts once more: every image has its negatives twice, and its text as a negative."""
    if arguments.get("key_ids") is not None:
        return None
    text, n = arguments["text"], len(arguments["image"])
    target = arguments.get("target")
    target = torch.arange(n) if target is None else target
    none = torch.full((n,), -1)
    alone = fastloss.reference.siglip_loss(**arguments | {"target": none, "reduction": "none"})
    changed = {"text": torch.cat([text, text]), "target": target}
    return arguments | changed, lambda rows: rows + alone


# ------------------------------------------------------------------------------------------ edges


def edges():
    """Those of other losses without their written rows, and what only this one has."""
    options = {"takes": TENSORS, "names": NAMES, "logit_scale": 3.0, "logit_bias": -1.0}
    for similarity in SIMILARITIES:
        for edge in pair_edges(similarity=similarity, **options):
            if any(word in edge.name for word in ("bias", "scores around", "removed key")):
                continue  # of a key_bias
            rows = (
                edge.rows
                if edge.name.endswith(("empty batch", "no keys", "weights zero"))
                else None
            )
            yield replace(edge, rows=rows)
    yield from extreme_norm_edges(**options)
    yield from euclidean_offset_edges(**options)

    def rows(n, m, names=(), d=5, **changes):
        def arguments(dtype):
            size = PairSize(n, max(m, 1), d)
            inputs = draw(torch.Generator().manual_seed(3), dtype, size)
            chosen = {"image": inputs["image"], "text": inputs["text"][:m]}
            chosen |= {name: inputs[name] for name in names}
            made = {k: v(inputs) if callable(v) else v for k, v in changes.items()}
            return {"logit_scale": 3.0, "logit_bias": -1.0} | chosen | made

        return arguments

    def nobody(inputs):
        return torch.full((len(inputs["image"]),), -1)

    def all_alike(count, of):
        return lambda inputs: inputs[of][:1].repeat(count, 1)

    def one_id(inputs):
        return torch.full((len(inputs["text"]),), 4)

    yield Edge("no image has a text", rows(5, 7, target=nobody))
    yield Edge("no image has a text, one id", rows(5, 7, target=nobody, key_ids=one_id))
    yield Edge("no texts", rows(4, 0, target=nobody), rows=[0.0] * 4)
    yield Edge("more images than texts", rows(9, 4, ("target", "key_ids", "weights")))
    yield Edge("all images of one text", rows(6, 7, target=torch.full((6,), 3)))
    yield Edge("one pair", rows(1, 1))
    zeros = {"image": lambda i: i["image"] * 0, "logit_bias": 0.0}
    log2 = torch.tensor(2.0).double().log().item()
    yield Edge("all scores 0", rows(4, 5, **zeros), rows=[5 * log2] * 4, terms=5.0)
    alike = {"image": all_alike(6, "image"), "text": all_alike(20, "image")}
    yield Edge("all rows equal", rows(6, 6, **alike), terms=20.0)
    yield Edge("certain", rows(4, 5, logit_scale=1e-3, logit_bias=-80.0))
    yield Edge("certain and wrong", rows(4, 5, logit_scale=200.0, logit_bias=3000.0))
    yield Edge("bias beyond every score", rows(4, 5, logit_bias=-1e30))
    nan = {"logit_bias": lambda i: i["logit_bias"]}
    yield Edge("bias tensor", rows(4, 5, **nan))


def errors():
    # The good call: image (4, 3), text (6, 3), target (4,), logit_scale 2.5.
    yield from bad.operand_errors("image", "text")
    yield Error("fewer texts", put(text=torch.ones(3, 3), target=None), ValueError, "text")
    yield Error("no texts", put(text=torch.ones(0, 3), target=None), ValueError, "text")
    yield from (error for error in bad.index_errors("target") if error.name != "target -1")
    for wrong in (-2, -100):
        target = torch.tensor([0, wrong, 2, 3])
        yield Error(f"target {wrong}", put(target=target), ValueError, "target")
    yield from bad.positive_scalar_errors("logit_scale")
    for value in (NAN, INF, -INF):
        yield Error(f"logit_bias {value}", put(logit_bias=value), ValueError, "logit_bias")
        tensor = torch.tensor(value)
        yield Error(f"logit_bias tensor {value}", put(logit_bias=tensor), ValueError, "logit_bias")
    yield Error("logit_bias None", put(logit_bias=None), TypeError, "logit_bias")
    yield Error("logit_bias string", put(logit_bias="1"), TypeError, "logit_bias")
    yield Error("logit_bias boolean", put(logit_bias=True), TypeError, "logit_bias")
    yield Error("logit_bias 1-D", put(logit_bias=torch.ones(6)), ValueError, "logit_bias")
    yield Error("logit_bias integer", put(logit_bias=torch.tensor(1)), TypeError, "logit_bias")
    yield from bad.choice_errors("similarity", "cos")
    yield from bad.id_errors("key_ids", 6, 4)
    yield from bad.weight_errors("weights", 4, 6)
    yield from bad.group_errors()
    yield from bad.choice_errors("reduction", "average")


def memory_bound(arguments, wrt):
    return pair_memory_bound(arguments, wrt, OPERANDS)


def products(arguments, wrt):
    return pair_products(arguments, wrt, OPERANDS)


CASE = Case(
    name="siglip_loss",
    module="SigLIPLoss",
    module_options=("similarity",),
    draw=draw,
    required=OPERANDS,
    operands=OPERANDS,
    scale=("logit_scale", "init_logit_scale"),
    held={"logit_bias": "init_logit_bias"},
    sizes=(
        PairSize(127, 129, 33),
        PairSize(3, 300, 5),
        PairSize(1, 1, 1),
        PairSize(1, 129, 7),
        PairSize(16, 32, 8),
        PairSize(129, 129, 48),
        PairSize(17, 1025, 9),
        PairSize(260, 530, 4),
        PairSize(67, 70, 33, scale=1e-3),
        PairSize(67, 70, 33, scale=30.0),
        PairSize(60, 70, 17, offset=3.0),
    ),
    small=PairSize(4, 6, 3),
    large=PairSize(1024, 3072, 64, h=0),
    few=("dot, plain", "euclidean, all"),
    variants=tuple(variants()),
    eager=eager_siglip_loss,
    differentiable=("image", "text", "logit_scale", "logit_bias"),
    invariances=(
        Invariance("negatives twice", _any_other_text_twice),
        *pair_invariances(
            "rows permuted",
            "keys permuted",
            "rotated",
            "features shifted",
            "scaled",
            "weights doubled",
            "ids renamed",
            query="image",
            key="text",
        ),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=memory_bound,
    products=products,
)
