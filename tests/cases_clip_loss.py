"""clip_loss: its variants, edges and errors. Sizes have as many texts as images."""

from __future__ import annotations

import torch

import bad_arguments as bad
import fastloss.reference
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from fastloss._workspace import current_workspace_limit
from pair_edges import euclidean_offset_edges, extreme_norm_edges
from pairwise import (
    INF,
    NAN,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    euclidean_similarity,
    padded_products,
    pair_invariances,
    pair_memory_bound,
)

OPERANDS = ("image", "text")


def draw(generator, dtype, size):
    """Text i is near image i; ids name some pairs alike. The m of a size is not read."""
    n = size.n
    inputs = draw_pairs(generator, dtype, size._replace(m=n, h=0), target=torch.arange(n))
    return {
        "image": inputs["query"],
        "text": inputs["key"],
        "key_ids": inputs["key_ids"],
        "weights": inputs["weights"],
        "logit_scale": torch.tensor(2.5, dtype=dtype),
        "logit_bias": torch.tensor(0.7, dtype=dtype),
    }


def variants():
    def named(*names):
        return {name: name for name in names}

    shared = [
        ("plain", {}, {}),
        ("bias", {}, named("logit_bias")),
        ("ids", {}, named("key_ids")),
        ("smoothing", {"label_smoothing": 0.2}, {}),
        ("smoothing complete", {"label_smoothing": 1.0}, {}),
        ("weights", {}, named("weights")),
        ("scale tensor", {}, named("logit_scale")),
        ("sharp", {"logit_scale": 100.0}, {}),
        ("flat", {"logit_scale": 0.05}, {}),
        ("ids all", {}, named("key_ids", "weights", "logit_scale")),
        (
            "smoothing all",
            {"label_smoothing": 0.1},
            named("key_ids", "weights", "logit_scale", "logit_bias"),
        ),
    ]
    for similarity in SIMILARITIES:
        for name, options, inputs in shared:
            options = {"similarity": similarity} | options
            if "logit_scale" not in inputs:
                options.setdefault("logit_scale", 2.5)  # neither saturated nor flat
            yield Variant(f"{similarity}, {name}", options, inputs)


def eager_clip_loss(image, text, *, similarity="cosine", **options):
    """As one writes it in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.clip_loss(image, text, similarity=similarity, **options)
    scores = euclidean_similarity(image, text, similarity)
    # The reference takes rows, not scores: against unit vectors, scores are their own products.
    unit = torch.eye(len(text), dtype=scores.dtype)
    return fastloss.reference.clip_loss(scores, unit, similarity="dot", **options)


# ------------------------------------------------------------------------------------ invariances


def _permute_pairs(arguments, generator):
    order = torch.randperm(len(arguments["image"]), generator=generator)
    changed = {
        name: arguments[name][order]
        for name in ("image", "text", "key_ids", "weights")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows[order]


def _exchange(arguments, generator):
    """The loss is symmetric in its operands."""
    return arguments | {"image": arguments["text"], "text": arguments["image"]}, lambda rows: rows


def _any_bias(arguments, generator):
    """A constant in all scores cancels in both softmaxes."""
    return arguments | {"logit_bias": -3.25}, lambda rows: rows


# ------------------------------------------------------------------------------------------ edges


def pairs_edges(similarity):
    options = {"similarity": similarity, "logit_scale": 3.0}

    def with_pairs(change, n=6, d=5):
        def arguments(dtype):
            inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(n, n, d))
            chosen = {name: inputs[name] for name in OPERANDS}
            return options | chosen | change(inputs)

        return arguments

    def same(inputs):
        return {}

    def put_in(value, **places):
        def change(inputs):
            changed = {name: inputs[name].clone() for name in places}
            for name, place in places.items():
                changed[name][place] = value
            return changed

        return change

    def ties(inputs):
        return {"text": inputs["text"][:1].repeat(6, 1)}

    def duplicates(inputs):
        """Two texts of one image, and an image at its text."""
        image, text = inputs["image"].clone(), inputs["text"].clone()
        text[3] = text[1]
        image[[2, 5]] = text[[2, 5]]
        return {"image": image, "text": text}

    def strided(inputs):
        wide = torch.randn(2, 12, 18, generator=torch.Generator().manual_seed(5))
        image, text = wide.to(inputs["image"].dtype)[:, ::2, 1::3]
        return {"image": image, "text": text, "weights": inputs["weights"].repeat(2)[::2]}

    def transposed(inputs):
        return {name: inputs[name].T.contiguous().T for name in OPERANDS}

    def expanded(inputs):
        return {
            "image": inputs["image"][:1].expand(6, 5),
            "text": inputs["text"],
            "weights": inputs["weights"][:1].expand(6),
            "key_ids": torch.tensor([4]).expand(6),
        }

    def all_alike(inputs):
        return {name: inputs["image"][:1].expand(6, 5) for name in OPERANDS}

    def weightless_nan(inputs):
        """Pair 1 has weight 0, but its rows enter the sums of the others."""
        return put_in(NAN, image=(1, 0))(inputs) | {"weights": inputs["weights"]}

    def id_of_all(inputs):
        return {"key_ids": torch.full((6,), 7)}

    nan_everywhere = [NAN] * 6
    log6 = torch.tensor(6.0).double().log().item()
    edges = [
        Edge("empty batch", with_pairs(same, n=0), rows=[]),
        Edge("one pair", with_pairs(same, n=1), rows=[0.0]),
        Edge("one pair, smoothed", with_pairs(lambda i: {"label_smoothing": 0.3}, n=1), rows=[0.0]),
        Edge("two pairs", with_pairs(same, n=2)),
        Edge("one feature", with_pairs(same, d=1), terms=10.0),
        Edge("zero image", with_pairs(put_in(0.0, image=2))),
        Edge("zero text", with_pairs(put_in(0.0, text=4))),
        Edge("zero pair", with_pairs(put_in(0.0, image=1, text=1))),
        Edge("all texts equal", with_pairs(ties), terms=10.0),
        Edge("all rows equal", with_pairs(all_alike), rows=[log6] * 6, terms=10.0),
        Edge("duplicates", with_pairs(duplicates)),
        Edge("image is text", with_pairs(lambda i: dict.fromkeys(OPERANDS, i["image"]))),
        Edge("strided", with_pairs(strided)),
        Edge("transposed", with_pairs(transposed)),
        Edge("expanded", with_pairs(expanded), rows=[0.0] * 6),
        Edge("all pairs share one id", with_pairs(id_of_all), rows=[0.0] * 6),
        Edge(
            "all pairs share one id, smoothed",
            with_pairs(lambda i: id_of_all(i) | {"label_smoothing": 0.3}),
            rows=[0.0] * 6,
        ),
        Edge("all weights zero", with_pairs(put_in(0.0, weights=slice(None))), rows=[0.0] * 6),
        Edge("bias of 3000", with_pairs(lambda i: {"logit_bias": 3000.0}), terms=3000.0),
        Edge("NaN image", with_pairs(put_in(NAN, image=(2, 1))), nan_everywhere, False),
        Edge("NaN text", with_pairs(put_in(NAN, text=(0, 1))), nan_everywhere, False),
        Edge("NaN in a pair of weight 0", with_pairs(weightless_nan), gradients=False),
    ]
    for edge in edges:
        yield Edge(
            f"{similarity}: {edge.name}", edge.arguments, edge.rows, edge.gradients, edge.terms
        )


def edges():
    for similarity in SIMILARITIES:
        yield from pairs_edges(similarity)
    names = {"query": "image", "key": "text"}
    yield from extreme_norm_edges(n=9, m=9, takes=(), names=names, logit_scale=14.0)
    yield from euclidean_offset_edges(n=13, m=13, takes=(), names=names, logit_scale=3.0)


def errors():
    # The good call: image (4, 3), text (4, 3), logit_scale 2.5.
    yield from bad.operand_errors("image", "text", m=4)
    yield Error("fewer texts", put(text=torch.ones(3, 3)), ValueError, "text")
    yield Error("more texts", put(text=torch.ones(6, 3)), ValueError, "text")
    yield Error("one text", put(text=torch.ones(1, 3)), ValueError, "text")
    yield from bad.positive_scalar_errors("logit_scale")
    for value in (NAN, INF):
        yield Error(f"logit_bias {value}", put(logit_bias=value), ValueError, "logit_bias")
    yield Error("logit_bias string", put(logit_bias="1"), TypeError, "logit_bias")
    yield Error("logit_bias 1-D", put(logit_bias=torch.ones(4)), ValueError, "logit_bias")
    yield Error("logit_bias integer", put(logit_bias=torch.tensor(1)), TypeError, "logit_bias")
    yield from bad.choice_errors("similarity", "cos")
    yield from bad.id_errors("key_ids", 4, 6)
    yield from bad.smoothing_errors()
    yield from bad.weight_errors("weights", 4, 6)
    yield from bad.group_errors()
    yield from bad.choice_errors("reduction", "average")


# ----------------------------------------------------------------------------------------- bounds


def memory_bound(arguments, wrt):
    """As of a loss of rows, and the states of the columns, which are kept a chunk of rows."""
    return pair_memory_bound(arguments, wrt, OPERANDS)


def products(arguments, wrt):
    """Columns are complete only after all rows: gradients need the scores a second time, unless
    all of them fit the workspace."""
    gradients = sum(name in wrt for name in OPERANDS)
    n = len(arguments["image"])
    fit = n * n * max(arguments["image"].element_size(), 4) <= current_workspace_limit()
    again = bool(wrt) and (arguments.get("reduction") == "none" or not fit)
    return padded_products(arguments, OPERANDS, 1 + gradients + again, 1 + gradients + again)


CASE = Case(
    name="clip_loss",
    module="CLIPLoss",
    module_options=("similarity", "label_smoothing"),
    draw=draw,
    required=OPERANDS,
    operands=OPERANDS,
    rows_are_independent=False,
    scale=("logit_scale", "init_logit_scale"),
    sizes=(
        PairSize(127, 127, 33),
        PairSize(37, 37, 70),
        PairSize(1, 1, 1),
        PairSize(3, 3, 4),
        PairSize(16, 16, 8),
        PairSize(129, 129, 48),
        PairSize(300, 300, 4),
        PairSize(127, 127, 33, scale=1e-3),
        PairSize(127, 127, 33, scale=30.0),
        PairSize(60, 60, 17, offset=3.0),
    ),
    small=PairSize(4, 4, 3),
    large=PairSize(1536, 1536, 64),
    variants=tuple(variants()),
    eager=eager_clip_loss,
    # Not logit_bias: its gradient is exactly 0, see test_identities.py.
    differentiable=("image", "text", "logit_scale"),
    invariances=(
        Invariance("pairs permuted", _permute_pairs),
        Invariance("operands exchanged", _exchange),
        Invariance("scores shifted", _any_bias),
        *pair_invariances(
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
