"""nt_xent: its variants, edges and errors. A size has n items, and a queue of m rows."""

from __future__ import annotations

import math

import torch

import bad_arguments as bad
import fastloss.reference
from bad_arguments import put
from case import Case, Edge, Error, Invariance, Variant
from fastloss.reference.contrastive.nt_xent import rows_of_scores
from fastloss.reference.reduction import reduce_rows
from one_set import scores_of_one_set, set_memory_bound, set_products
from pairwise import (
    NAN,
    SIMILARITIES,
    PairSize,
    draw_pairs,
    pair_invariances,
    with_similarities,
)

VIEWS = ("view1", "view2")


def draw(generator, dtype, size):
    """Row i of the second view is near row i of the first."""
    n = size.n
    views = draw_pairs(generator, dtype, size._replace(m=n, h=0), target=torch.arange(n))
    queue = draw_pairs(generator, dtype, size._replace(n=0, h=0))["key"]
    return {
        "view1": views["query"],
        "view2": views["key"],
        "queue": queue,
        "weights": views["weights"],
        "temperature": views["temperature"],
    }


def variants():
    def named(*names):
        return {name: name for name in names}

    shared = [
        ("plain", {}, {}),
        ("queue", {}, named("queue")),
        ("decoupled", {"decoupled": True}, {}),
        ("weights", {}, named("weights")),
        ("temperature tensor", {}, named("temperature")),
        ("sharp", {"temperature": 0.005}, {}),
        ("flat", {"temperature": 20.0}, {}),
        ("all", {}, named("queue", "weights", "temperature")),
        ("decoupled all", {"decoupled": True}, named("queue", "weights", "temperature")),
    ]
    for similarity, name, options, inputs in with_similarities(shared):
        yield Variant(f"{similarity}, {name}", options, inputs)


def eager_nt_xent(
    view1,
    view2,
    *,
    queue=None,
    temperature=0.5,
    similarity="cosine",
    decoupled=False,
    weights=None,
    reduction="mean",
):
    """As one writes it in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return fastloss.reference.nt_xent(
            view1,
            view2,
            queue=queue,
            temperature=temperature,
            similarity=similarity,
            decoupled=decoupled,
            weights=weights,
            reduction=reduction,
        )
    scores = scores_of_one_set(torch.cat([view1, view2]), queue, similarity) / temperature
    loss, counts = rows_of_scores(scores, decoupled)
    weights = None if weights is None else torch.cat([weights, weights])
    return reduce_rows(loss, counts, weights, reduction)


# ------------------------------------------------------------------------------------ invariances


def _twice(order, n):
    return torch.cat([order, order + n])


def _permute_items(arguments, generator):
    n = len(arguments["view1"])
    order = torch.randperm(n, generator=generator)
    changed = {
        name: arguments[name][order]
        for name in ("view1", "view2", "weights")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows[_twice(order, n)]


def _exchange_views(arguments, generator):
    changed = {"view1": arguments["view2"], "view2": arguments["view1"]}
    n = len(arguments["view1"])
    return arguments | changed, lambda rows: rows.roll(n)


def _exchange_one_item(arguments, generator):
    """Which of an item's rows comes first does not matter."""
    n = len(arguments["view1"])
    swap = torch.arange(n) % 3 == 1
    view1, view2 = arguments["view1"], arguments["view2"]
    changed = {
        "view1": torch.where(swap[:, None], view2, view1),
        "view2": torch.where(swap[:, None], view1, view2),
    }
    back = torch.where(torch.cat([swap, swap]), torch.arange(2 * n).roll(n), torch.arange(2 * n))
    return arguments | changed, lambda rows: rows[back]


def _permute_queue(arguments, generator):
    if arguments.get("queue") is None:
        return None
    queue = arguments["queue"]
    order = torch.randperm(len(queue), generator=generator)
    return arguments | {"queue": queue[order]}, lambda rows: rows


def _weights_doubled(arguments, generator):
    weights = arguments.get("weights")
    weights = arguments["view1"].new_ones(len(arguments["view1"])) if weights is None else weights
    return arguments | {"weights": 2 * weights}, lambda rows: 2 * rows


# ------------------------------------------------------------------------------------------ edges


def item_edges(similarity):
    options = {"similarity": similarity, "temperature": 0.4}

    def with_items(change, n=6, m=5, d=5):
        def arguments(dtype):
            inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(n, m, d))
            chosen = {name: inputs[name] for name in VIEWS}
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

    def duplicates(inputs):
        """Rows that are equal within a view, across views, and in the queue."""
        view1, view2, queue = (inputs[name].clone() for name in (*VIEWS, "queue"))
        view1[3] = view1[1]
        view2[[2, 5]] = view1[[2, 0]]
        queue[1] = view2[4]
        return {"view1": view1, "view2": view2, "queue": queue}

    def strided(inputs):
        wide = torch.randn(3, 12, 18, generator=torch.Generator().manual_seed(5))
        view1, view2, queue = wide.to(inputs["view1"].dtype)[:, ::2, 1::3]
        return {"view1": view1, "view2": view2, "queue": queue, "weights": inputs["weights"]}

    def transposed(inputs):
        return {name: inputs[name].T.contiguous().T for name in (*VIEWS, "queue")}

    def all_alike(inputs):
        return {name: inputs["view1"][:1].expand(6, 5) for name in VIEWS}

    def weightless_nan(inputs):
        return put_in(NAN, view1=(1, 0))(inputs) | {"weights": inputs["weights"]}

    def queue_of(k):
        return lambda inputs: {"queue": inputs["queue"][:k]}

    def decoupled(change):
        return lambda inputs: change(inputs) | {"decoupled": True}

    log = math.log
    edges = [
        Edge("empty batch", with_items(same, n=0), rows=[]),
        Edge("empty batch, with a queue", with_items(queue_of(3), n=0), rows=[]),
        Edge("one item", with_items(same, n=1), rows=[0.0, 0.0]),
        Edge("one item, decoupled", with_items(decoupled(same), n=1), rows=[0.0, 0.0]),
        Edge("one item, with a queue", with_items(queue_of(5), n=1)),
        Edge("one item, decoupled, with a queue", with_items(decoupled(queue_of(1)), n=1)),
        Edge("empty queue", with_items(queue_of(0))),
        Edge("two items", with_items(same, n=2)),
        Edge("one feature", with_items(same, d=1), terms=100.0),
        Edge("zero row", with_items(put_in(0.0, view1=2))),
        Edge("zero item", with_items(put_in(0.0, view1=1, view2=1))),
        Edge("zero row of the queue", with_items(put_in(0.0, queue=1))),
        Edge("all rows equal", with_items(all_alike), rows=[log(11)] * 12, terms=10.0),
        Edge(
            "all rows equal, decoupled",
            with_items(decoupled(all_alike)),
            rows=[log(10)] * 12,
            terms=10.0,
        ),
        Edge("duplicates", with_items(duplicates)),
        Edge("view1 is view2", with_items(lambda i: dict.fromkeys(VIEWS, i["view1"]))),
        Edge("strided", with_items(strided)),
        Edge("transposed", with_items(transposed)),
        Edge("all weights zero", with_items(put_in(0.0, weights=slice(None))), rows=[0.0] * 12),
        Edge("NaN row", with_items(put_in(NAN, view2=(2, 1))), [NAN] * 12, False),
        Edge("NaN in the queue", with_items(put_in(NAN, queue=(0, 1))), [NAN] * 12, False),
        Edge("NaN in an item of weight 0", with_items(weightless_nan), gradients=False),
    ]
    for edge in edges:
        yield Edge(
            f"{similarity}: {edge.name}", edge.arguments, edge.rows, edge.gradients, edge.terms
        )


def extreme_norms(small, large):
    def arguments(dtype):
        inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(8, 9, 5))
        power = 1 if dtype == torch.float32 else 6  # larger exponents where the dtype has them
        factors = torch.tensor([small**power, 1.0, large**power, 0.0], dtype=torch.float64)
        factors = factors.repeat(3)[:, None]
        return {
            name: (inputs[name].double() * factors[: len(inputs[name])]).to(dtype)
            for name in (*VIEWS, "queue")
        }

    return arguments


def offset(similarity):
    def arguments(dtype):
        inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(9, 7, 6, offset=100.0))
        view1, view2, queue = (inputs[name].clone() for name in (*VIEWS, "queue"))
        view1[[3, 5]] = view1[[2, 2]]
        view2[[1, 4]] = view1[[2, 4]]
        queue[2] = view2[8]
        options = {"similarity": similarity, "temperature": 0.4}
        return {"view1": view1, "view2": view2, "queue": queue} | options

    return arguments


def edges():
    for similarity in SIMILARITIES:
        yield from item_edges(similarity)
    for small, large in ((1e-18, 1e18), (1e-30, 1e30)):
        yield Edge(f"cosine: norms {small:g} and {large:g}", extreme_norms(small, large))
    for similarity in ("euclidean", "sqeuclidean"):
        yield Edge(f"{similarity}: offset 100 and duplicates", offset(similarity))


def errors():
    # The good call: view1 (4, 3), view2 (4, 3).
    yield from bad.operand_errors("view1", "view2", m=4)
    yield Error("fewer rows", put(view2=torch.ones(3, 3)), ValueError, "view2")
    yield Error("more rows", put(view2=torch.ones(6, 3)), ValueError, "view2")
    yield Error("one row", put(view2=torch.ones(1, 3)), ValueError, "view2")
    yield Error("queue of other features", put(queue=torch.ones(5, 2)), ValueError, "queue")
    yield Error("queue 1-D", put(queue=torch.ones(3)), ValueError, "queue")
    yield Error("queue of another dtype", put(queue=torch.ones(5, 3).half()), TypeError, "queue")
    yield Error("queue list", put(queue=[[1.0, 2.0, 3.0]]), TypeError, "queue")
    yield from bad.positive_scalar_errors("temperature")
    yield from bad.choice_errors("similarity", "cos")
    yield Error("decoupled number", put(decoupled=1), TypeError, "decoupled")
    yield from bad.weight_errors("weights", 4, 8)
    yield from bad.group_errors()
    yield from bad.choice_errors("reduction", "average")


# ----------------------------------------------------------------------------------------- bounds


def memory_bound(arguments, wrt):
    """As of a loss of pairs, and both views side by side."""
    copy = sum(arguments[name].numel() * arguments[name].element_size() for name in VIEWS)
    return set_memory_bound(arguments, wrt, (*VIEWS, "queue")) + copy


def products(arguments, wrt):
    n, d = arguments["view1"].shape
    queue = arguments.get("queue")
    k = 0 if queue is None else len(queue)
    of_views = any(name in wrt for name in VIEWS)
    none = arguments.get("reduction") == "none"
    return set_products(2 * n, k, d, of_views, "queue" in wrt, bool(wrt), none)


TWO_SETS = {"query": "view1", "key": "view2", "negatives": "queue"}


def _scaled(arguments, generator):
    (law,) = pair_invariances("scaled", **TWO_SETS)
    return law.change({"temperature": 0.5} | arguments, generator)


CASE = Case(
    name="nt_xent",
    module="NTXentLoss",
    module_options=("similarity", "decoupled"),
    draw=draw,
    required=VIEWS,
    operands=VIEWS,
    rows_are_independent=False,
    scale=("temperature", "temperature"),
    few=("dot, plain", "euclidean, decoupled all"),
    sizes=(
        PairSize(67, 45, 33),
        PairSize(37, 70, 70),
        PairSize(1, 3, 2),
        PairSize(3, 2, 4),
        PairSize(16, 8, 8),
        PairSize(65, 127, 48),
        PairSize(150, 5, 4),
        PairSize(34, 45, 33, scale=1e-3),
        PairSize(34, 45, 33, scale=30.0),
        PairSize(30, 33, 17, offset=3.0),
    ),
    small=PairSize(4, 3, 3),
    large=PairSize(768, 900, 64),
    variants=tuple(variants()),
    eager=eager_nt_xent,
    differentiable=("view1", "view2", "queue", "temperature"),
    invariances=(
        Invariance("items permuted", _permute_items),
        Invariance("views exchanged", _exchange_views),
        Invariance("views of some items exchanged", _exchange_one_item),
        Invariance("queue permuted", _permute_queue),
        Invariance("weights doubled", _weights_doubled),
        *pair_invariances("rotated", "features shifted", **TWO_SETS),
        Invariance("scaled", _scaled),
    ),
    edges=tuple(edges()),
    errors=tuple(errors()),
    memory_bound=memory_bound,
    products=products,
)
