"""sup_con: its variants, edges and errors. A size has n rows, and references of m rows."""

from __future__ import annotations

import math

import torch

import bad_arguments as bad
import fastloss.reference
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from fastloss.reference.contrastive.sup_con import rows_of_scores
from fastloss.reference.reduction import reduce_rows
from one_set import set_memory_bound, set_products
from pairwise import (
    NAN,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    euclidean_similarity,
    pair_invariances,
    with_similarities,
)


def draw(generator, dtype, size):
    """Few classes of many rows, many classes of few, and rows alone in theirs; rows of a class are
    near each other."""
    n, m = size.n, size.m
    labels = torch.randint(max(n // 4, 2), (n,), generator=generator)
    labels = torch.where(torch.arange(n) % 3 == 0, labels % 2, labels)
    ref_labels = torch.randint(max(n // 4, 2) + 1, (m,), generator=generator)
    centres = draw_pairs(generator, torch.float64, size._replace(n=0, m=n + 3, h=0))["key"]
    drawn = draw_pairs(generator, torch.float64, size._replace(h=0))
    embeddings = drawn["query"] + 0.4 * (centres[labels] - size.offset)
    ref_embeddings = drawn["key"] + 0.4 * (centres[ref_labels] - size.offset)
    return {
        "embeddings": embeddings.to(dtype),
        "labels": labels,
        "ref_embeddings": ref_embeddings.to(dtype),
        "ref_labels": ref_labels,
        "weights": drawn["weights"].to(dtype),
        "temperature": drawn["temperature"].to(dtype),
    }


def variants():
    def named(*names):
        return {name: name for name in names}

    references = named("ref_embeddings", "ref_labels")
    shared = [
        ("plain", {"temperature": 0.5}, {}),
        ("default temperature", {}, {}),
        ("references", {"temperature": 0.5}, references),
        ("weights", {"temperature": 0.5}, named("weights")),
        ("temperature tensor", {}, named("temperature")),
        ("sharp", {"temperature": 0.005}, {}),
        ("flat", {"temperature": 20.0}, {}),
        ("all", {}, named("weights", "temperature") | references),
        ("own all", {}, named("weights", "temperature")),
    ]
    for similarity, name, options, inputs in with_similarities(shared):
        yield Variant(f"{similarity}, {name}", options, inputs)


def eager_sup_con(
    embeddings,
    labels,
    *,
    ref_embeddings=None,
    ref_labels=None,
    temperature=0.07,
    similarity="cosine",
    weights=None,
    reduction="mean",
):
    """As one writes it in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.sup_con(
            embeddings,
            labels,
            ref_embeddings=ref_embeddings,
            ref_labels=ref_labels,
            temperature=temperature,
            similarity=similarity,
            weights=weights,
            reduction=reduction,
        )
    candidates = embeddings if ref_embeddings is None else ref_embeddings
    scores = euclidean_similarity(embeddings, candidates, similarity) / temperature
    loss, counts = rows_of_scores(scores, labels, ref_labels)
    return reduce_rows(loss, counts, weights, reduction)


# ------------------------------------------------------------------------------------ invariances


def _permuted(arguments, generator, first, others):
    if arguments.get(first) is None:
        return None
    order = torch.randperm(len(arguments[first]), generator=generator)
    changed = {
        name: arguments[name][order] for name in (first, *others) if arguments.get(name) is not None
    }
    return changed, order


def _permute_rows(arguments, generator):
    changed, order = _permuted(arguments, generator, "embeddings", ("labels", "weights"))
    return arguments | changed, lambda rows: rows[order]


def _permute_references(arguments, generator):
    permuted = _permuted(arguments, generator, "ref_embeddings", ("ref_labels",))
    return permuted and (arguments | permuted[0], lambda rows: rows)


def _rename_labels(arguments, generator):
    """Labels are names: only their equality counts."""
    changed = {
        name: 10**15 - (3 * arguments[name]) ** 2
        for name in ("labels", "ref_labels")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows


def _weights_doubled(arguments, generator):
    rows = arguments["embeddings"]
    weights = arguments.get("weights")
    weights = rows.new_ones(len(rows)) if weights is None else weights
    return arguments | {"weights": 2 * weights}, lambda rows: 2 * rows


# ------------------------------------------------------------------------------------------ edges


def row_edges(similarity):
    options = {"similarity": similarity, "temperature": 0.4}

    def with_rows(change, n=9, m=7, d=5):
        def arguments(dtype):
            inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(n, m, d))
            chosen = {name: inputs[name] for name in ("embeddings", "labels")}
            return options | chosen | change(inputs)

        return arguments

    def same(inputs):
        return {}

    def references(inputs):
        return {name: inputs[name] for name in ("ref_embeddings", "ref_labels")}

    def put_in(value, **places):
        def change(inputs):
            changed = {name: inputs[name].clone() for name in places}
            for name, place in places.items():
                changed[name][place] = value
            return changed

        return change

    def labels(*values):
        return lambda inputs: {"labels": torch.tensor(values)}

    def both(*changes):
        def change(inputs):
            changed = {}
            for one in changes:
                changed |= one(inputs)
            return changed

        return change

    def duplicates(inputs):
        rows = inputs["embeddings"].clone()
        rows[[3, 5]] = rows[[1, 0]]
        return {"embeddings": rows}

    def references_are_rows(inputs):
        return {"ref_embeddings": inputs["embeddings"], "ref_labels": inputs["labels"]}

    def all_alike(inputs):
        return {"embeddings": inputs["embeddings"][:1].expand(9, 5)}

    def strided(inputs):
        wide = torch.randn(2, 18, 18, generator=torch.Generator().manual_seed(5))
        rows, refs = wide.to(inputs["embeddings"].dtype)[:, ::2, 1::3][..., :5]
        return {
            "embeddings": rows,
            "labels": inputs["labels"].repeat_interleave(2)[::2],
            "ref_embeddings": refs,
            "ref_labels": torch.arange(18)[::2] % 3,
        }

    def transposed(inputs):
        return {
            name: inputs[name].T.contiguous().T for name in ("embeddings", "ref_embeddings")
        } | {"ref_labels": inputs["ref_labels"]}

    def no_references(inputs):
        return {name: inputs[name][:0] for name in ("ref_embeddings", "ref_labels")}

    def other_labels(inputs):
        return references(inputs) | {"ref_labels": inputs["ref_labels"] + 1000}

    def weightless_nan(inputs):
        return put_in(NAN, embeddings=(1, 0))(inputs) | {"weights": inputs["weights"]}

    alone = labels(*range(9))
    one_class = labels(*[5] * 9)
    nan_row = put_in(NAN, embeddings=(4, 1))
    edges = [
        Edge("empty batch", with_rows(same, n=0), rows=[]),
        Edge("empty batch, references", with_rows(references, n=0), rows=[]),
        Edge("one row", with_rows(same, n=1), rows=[0.0]),
        Edge("two rows of a class", with_rows(labels(4, 4), n=2), rows=[0.0, 0.0]),
        Edge("two rows apart", with_rows(labels(4, 5), n=2), rows=[0.0, 0.0]),
        Edge("classes of one", with_rows(alone), rows=[0.0] * 9),
        Edge("a pair among classes of one", with_rows(labels(0, 1, 2, 3, 1, 5, 6, 7, 8))),
        Edge("one class", with_rows(one_class)),
        Edge("one feature", with_rows(same, d=1), terms=10.0),
        Edge("zero row", with_rows(put_in(0.0, embeddings=2))),
        Edge("zero reference", with_rows(both(references, put_in(0.0, ref_embeddings=2)))),
        Edge("all rows equal", with_rows(all_alike), terms=10.0),
        Edge(
            "all rows equal, one class",
            with_rows(both(all_alike, one_class)),
            rows=[math.log(8)] * 9,
            terms=10.0,
        ),
        Edge("duplicates", with_rows(duplicates)),
        Edge("references are the rows", with_rows(references_are_rows)),
        Edge("no references", with_rows(no_references), rows=[0.0] * 9),
        Edge("references of other labels", with_rows(other_labels), rows=[0.0] * 9),
        Edge("one reference", with_rows(references, m=1)),
        Edge("strided", with_rows(strided)),
        Edge("transposed", with_rows(transposed)),
        Edge("extreme labels", with_rows(labels(*[2**63 - 1, -(2**63), 0] * 3))),
        Edge("all weights zero", with_rows(put_in(0.0, weights=slice(None))), rows=[0.0] * 9),
        Edge("NaN row", with_rows(both(one_class, nan_row)), [NAN] * 9, False),
        Edge("NaN row, classes of one", with_rows(both(alone, nan_row)), [0.0] * 9, False),
        Edge(
            "NaN reference",
            with_rows(both(references, put_in(NAN, ref_embeddings=(0, 1)))),
            gradients=False,
        ),
        Edge("NaN in a row of weight 0", with_rows(weightless_nan), gradients=False),
    ]
    for edge in edges:
        yield Edge(
            f"{similarity}: {edge.name}", edge.arguments, edge.rows, edge.gradients, edge.terms
        )


def extreme_norms(small, large, references):
    def arguments(dtype):
        inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(10, 9, 5))
        power = 1 if dtype == torch.float32 else 6  # larger exponents where the dtype has them
        factors = torch.tensor([small**power, 1.0, large**power, 0.0], dtype=torch.float64)
        factors = factors.repeat(3)[:, None]
        chosen = {"embeddings": inputs["embeddings"], "ref_embeddings": inputs["ref_embeddings"]}
        changed = {
            name: (value.double() * factors[: len(value)]).to(dtype)
            for name, value in chosen.items()
            if references or name == "embeddings"
        }
        changed |= {"ref_labels": inputs["ref_labels"]} if references else {}
        return changed | {"labels": inputs["labels"]}

    return arguments


def offset(similarity, references):
    def arguments(dtype):
        inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(11, 13, 6, offset=100.0))
        rows, refs = inputs["embeddings"].clone(), inputs["ref_embeddings"].clone()
        rows[[3, 5]] = rows[[2, 2]]
        refs[[1, 4]] = rows[[2, 4]]
        chosen = {"embeddings": rows, "labels": inputs["labels"]}
        if references:
            chosen |= {"ref_embeddings": refs, "ref_labels": inputs["ref_labels"]}
        return chosen | {"similarity": similarity, "temperature": 0.4}

    return arguments


def edges():
    for similarity in SIMILARITIES:
        yield from row_edges(similarity)
    for references in (False, True):
        text = ", references" if references else ""
        for small, large in ((1e-18, 1e18), (1e-30, 1e30)):
            yield Edge(
                f"cosine: norms {small:g} and {large:g}{text}",
                extreme_norms(small, large, references),
            )
        for similarity in ("euclidean", "sqeuclidean"):
            yield Edge(
                f"{similarity}: offset 100 and duplicates{text}", offset(similarity, references)
            )


def errors():
    # The good call: embeddings (4, 3), labels (4,).
    name = "embeddings"
    long = torch.int64
    yield Error("embeddings is a list", put(embeddings=[[1.0]]), TypeError, name)
    yield Error("embeddings is None", put(embeddings=None), TypeError, name)
    for dims in ((), (4,), (4, 3, 1), (4, 0)):
        yield Error(f"embeddings {dims}", bad.shape(name, *dims), ValueError, name)
    for dtype in (long, torch.bool, torch.complex64):
        yield Error(f"embeddings {dtype}", bad.shape(name, 4, 3, dtype=dtype), TypeError, name)
    yield from bad.id_errors("labels", 4, 6)
    yield Error("labels None", put(labels=None), TypeError, "labels")
    yield Error("labels int32", bad.shape("labels", 4, dtype=torch.int32), TypeError, "labels")

    def refs(ref=None, labels=None):
        return put(
            ref_embeddings=torch.ones(5, 3) if ref is None else ref,
            ref_labels=torch.zeros(5, dtype=long) if labels is None else labels,
        )

    only_rows, only_labels = torch.ones(5, 3), torch.zeros(5, dtype=long)
    yield Error("no ref_labels", put(ref_embeddings=only_rows), ValueError, "ref_labels")
    yield Error("no ref_embeddings", put(ref_labels=only_labels), ValueError, "ref_embeddings")
    for value, exception in (
        (torch.ones(5, 2), ValueError),
        (torch.ones(3), ValueError),
        (torch.ones(5, 3).half(), TypeError),
        ([[1.0, 2.0, 3.0]], TypeError),
    ):
        text = f"ref_embeddings {getattr(value, 'shape', value)}"
        yield Error(text, refs(ref=value), exception, "ref_embeddings")
    for value, exception in (
        (torch.zeros(4, dtype=long), ValueError),
        (torch.zeros(1, dtype=long), ValueError),
        (torch.zeros(5), TypeError),
        ([0] * 5, TypeError),
    ):
        text = f"ref_labels {getattr(value, 'shape', value)}"
        yield Error(text, refs(labels=value), exception, "ref_labels")
    yield from bad.positive_scalar_errors("temperature")
    yield from bad.choice_errors("similarity", "cos")
    yield from bad.weight_errors("weights", 4, 6)
    yield from bad.group_errors()
    yield from bad.choice_errors("reduction", "average")


# ----------------------------------------------------------------------------------------- bounds


def memory_bound(arguments, wrt):
    """Labels become ranks of 32 bits through copies of them and their order."""
    rows = [arguments[name] for name in ("labels", "ref_labels") if name in arguments]
    return set_memory_bound(arguments, wrt, ("embeddings", "ref_embeddings")) + sum(
        2 * 8 * len(labels) for labels in rows
    )


def products(arguments, wrt):
    n, d = arguments["embeddings"].shape
    references = arguments.get("ref_embeddings")
    k = 0 if references is None else len(references)
    return set_products(
        n,
        k,
        d,
        "embeddings" in wrt,
        "ref_embeddings" in wrt,
        bool(wrt),
        arguments.get("reduction") == "none",
        itself=references is None,
    )


CASE = Case(
    name="sup_con",
    module="SupConLoss",
    module_options=("similarity",),
    draw=draw,
    required=("embeddings", "labels"),
    operands=("embeddings",),
    rows_are_independent=False,
    scale=("temperature", "temperature"),
    few=("dot, plain", "euclidean, own all", "euclidean, all"),
    sizes=(
        PairSize(127, 45, 33),
        PairSize(37, 70, 70),
        PairSize(1, 1, 1),
        PairSize(3, 2, 4),
        PairSize(16, 8, 8),
        PairSize(129, 127, 48),
        PairSize(300, 5, 4),
        PairSize(67, 45, 33, scale=1e-3),
        PairSize(67, 45, 33, scale=30.0),
        PairSize(60, 33, 17, offset=3.0),
    ),
    small=PairSize(4, 5, 3),
    large=PairSize(1536, 900, 64),
    variants=tuple(variants()),
    eager=eager_sup_con,
    differentiable=("embeddings", "ref_embeddings", "temperature"),
    invariances=(
        Invariance("rows permuted", _permute_rows),
        Invariance("references permuted", _permute_references),
        Invariance("labels renamed", _rename_labels),
        Invariance("weights doubled", _weights_doubled),
        *pair_invariances(
            "rotated",
            "features shifted",
            "scaled",
            query="embeddings",
            key="ref_embeddings",
        ),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=memory_bound,
    products=products,
)
