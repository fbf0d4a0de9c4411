"""Inputs, invariances, edges, errors and bounds of the losses whose triplets are named by labels.

A size has n rows, and references of m rows.
"""

from __future__ import annotations

from functools import cache

import torch

import bad_arguments as bad
from bad_arguments import put
from case import Edge, Error, Invariance
from fastloss.reference.metric._candidates import distances, positives_and_negatives
from pairwise import NAN, SIMILARITIES, PairSize, draw_pairs, euclidean_similarity, padded_products

REFERENCES = ("ref_embeddings", "ref_labels")
CHECKED = 1 << 20  # gaps
MARGINS = (0.0, 0.3, 1.0)  # gaps of drawn inputs are not near 0 with any of these


def draw(generator, dtype, size):
    drawn = _drawn(generator.initial_seed(), dtype, size)
    return {name: value.clone() for name, value in drawn.items()}


@cache
def _drawn(seed, dtype, size):
    """Few classes of many rows, many classes of few, and rows alone in theirs; rows of a class are
    near each other.

    A triplet at its kink has a gradient or has none, by a rounding error, and a pair of equal
    distances is chosen or is not: such anchors are drawn again.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = _candidate(generator, dtype, size)
    if size.n * max(size.n, size.m) ** 2 > CHECKED:  # compared with itself only
        return inputs
    # At a large offset only distances tell rows apart.
    kinds = SIMILARITIES if size.offset < 10 else ("euclidean", "sqeuclidean")
    for _ in range(100):
        unclear = _near_kinks(inputs, False, kinds) | _near_kinks(inputs, True, kinds)
        if not unclear.any():
            return inputs
        other = _candidate(generator, dtype, size)["embeddings"]
        inputs["embeddings"][unclear] = other[unclear]
    raise AssertionError(f"no clear inputs of size {size}")


def _candidate(generator, dtype, size):
    n, m = size.n, size.m
    size = size._replace(d=max(size.d, 2))  # of one feature all cosine distances are equal or 2
    classes = max(n // 5, 2)
    labels = torch.randint(classes, (n,), generator=generator) - 1
    labels = torch.where(torch.arange(n) % 3 == 0, labels % 2, labels)
    ref_labels = torch.randint(classes + 1, (m,), generator=generator) - 1
    centres = draw_pairs(generator, torch.float64, size._replace(n=0, m=classes, h=0))["key"]
    drawn = draw_pairs(generator, torch.float64, size._replace(h=0))
    embeddings = drawn["query"] + 0.4 * (centres[labels] - size.offset)
    ref_embeddings = drawn["key"] + 0.4 * (centres[ref_labels % classes] - size.offset)
    return {
        "embeddings": embeddings.to(dtype),
        "labels": labels,
        "ref_embeddings": ref_embeddings.to(dtype),
        "ref_labels": ref_labels,
    }


def _near_kinks(inputs, with_references, similarities):
    """Anchors of triplets that are nearly at their kink: a mask (n)."""
    refs = [inputs[name] if with_references else None for name in REFERENCES]
    positive, negative = positives_and_negatives(inputs["labels"], refs[1])
    valid = positive[:, :, None] & negative[:, None, :]
    triplets = valid.sum().item()
    near = torch.zeros(len(valid), dtype=torch.bool)
    if triplets == 0:
        return near
    anchors = valid.nonzero()[:, 0]
    rows = inputs["embeddings"].double()
    candidates = rows if refs[0] is None else refs[0].double()
    for similarity in similarities:
        distance = distances(rows, candidates, similarity)
        gaps = (distance[:, :, None] - distance[:, None, :])[valid]
        # More than float32 rounds off; of few triplets more than central differences move.
        least = (4e-6 if triplets > 1000 else 2e-5) * distance.abs().max()
        for margin in MARGINS:
            near[anchors[(gaps + margin).abs() <= least]] = True
    return near


def eager_distances(embeddings, ref_embeddings, similarity):
    """As one writes them in torch, without the differences of all pairs."""
    if similarity not in ("euclidean", "sqeuclidean"):
        return distances(embeddings, ref_embeddings, similarity)
    candidates = embeddings if ref_embeddings is None else ref_embeddings
    return -euclidean_similarity(embeddings, candidates, similarity)


# ------------------------------------------------------------------------------------ invariances


def _permuted(arguments, generator, *names):
    if arguments.get(names[0]) is None:
        return None
    order = torch.randperm(len(arguments[names[0]]), generator=generator)
    return arguments | {name: arguments[name][order] for name in names}, order


def _permute_rows(arguments, generator):
    changed, order = _permuted(arguments, generator, "embeddings", "labels")
    return changed, lambda rows: rows[order]


def _permute_references(arguments, generator):
    permuted = _permuted(arguments, generator, *REFERENCES)
    return permuted and (permuted[0], lambda rows: rows)


def _rename_labels(arguments, generator):
    """Labels are names: only their equality counts."""
    changed = {
        name: 10**15 - (3 * arguments[name] + 7) ** 2
        for name in ("labels", "ref_labels")
        if arguments.get(name) is not None
    }
    return arguments | changed, lambda rows: rows


def _both(arguments, change):
    names = ("embeddings", "ref_embeddings")
    return {name: change(arguments[name]) for name in names if arguments.get(name) is not None}


def _rotate(arguments, generator):
    d = arguments["embeddings"].shape[1]
    square = torch.randn(d, d, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(square).Q.to(arguments["embeddings"].dtype)
    return arguments | _both(arguments, lambda rows: rows @ rotation), lambda rows: rows


def _shift(arguments, generator):
    if arguments["similarity"] in ("cosine", "dot"):
        return None
    offset = torch.randn(arguments["embeddings"].shape[1], generator=generator, dtype=torch.float64)
    return arguments | _both(arguments, lambda rows: rows + offset.to(rows)), lambda rows: rows


def _scale(arguments, generator):
    """Distances and margin times a power of two."""
    if arguments.get("hinge") == "softplus" or arguments["similarity"] == "cosine":
        return None
    factor = 4.0 if arguments["similarity"] == "euclidean" else 16.0
    changed = _both(arguments, lambda rows: 4 * rows)
    changed["margin"] = factor * arguments.get("margin", 1.0)
    return arguments | changed, lambda rows: factor * rows


def _add_classes_of_one(arguments, generator):
    """Far rows without a positive are no anchors, and far negatives no triplets with a loss."""
    if arguments.get("hinge") == "softplus" or arguments["similarity"] not in (
        "euclidean",
        "sqeuclidean",
    ):
        return None
    if arguments.get("ref_embeddings") is not None:
        return None
    rows = arguments["embeddings"]
    far = rows[:2] + 1000 * torch.tensor([[1.0], [-1.0]]).to(rows)
    labels = torch.tensor([1000, 1001])
    changed = {
        "embeddings": torch.cat([rows, far]),
        "labels": torch.cat([arguments["labels"], labels]),
    }
    return arguments | changed, lambda rows: torch.cat([rows, rows.new_zeros(2)])


INVARIANCES = (
    Invariance("rows permuted", _permute_rows),
    Invariance("references permuted", _permute_references),
    Invariance("labels renamed", _rename_labels),
    Invariance("rotated", _rotate),
    Invariance("features shifted", _shift),
    Invariance("scaled", _scale),
)
FAR_CLASSES_OF_ONE = Invariance("far classes of one added", _add_classes_of_one)


# ------------------------------------------------------------------------------------------ edges


def labelled_edges(similarity, **options):
    """Edges every loss of triplets must pass. A row without a triplet has loss 0."""
    options = {"similarity": similarity} | options

    def with_rows(change, n=9, m=7, d=5):
        def arguments(dtype):
            inputs = draw(torch.Generator().manual_seed(3), dtype, PairSize(n, m, d))
            chosen = {name: inputs[name] for name in ("embeddings", "labels")}
            return options | chosen | change(inputs)

        return arguments

    def same(inputs):
        return {}

    def both(*changes):
        def change(inputs):
            changed = {}
            for part in changes:
                changed |= part(inputs | changed)
            return changed

        return change

    def labels(*values):
        return lambda inputs: {"labels": torch.tensor(values)}

    def references(inputs):
        return {name: inputs[name] for name in REFERENCES}

    def put_in(value, **places):
        def change(inputs):
            changed = {name: inputs[name].clone() for name in places}
            for name, place in places.items():
                changed[name][place] = value
            return changed

        return change

    def duplicates(inputs):
        """Equal rows of one class, and of two."""
        rows = inputs["embeddings"].clone()
        rows[[3, 5, 8]] = rows[[0, 1, 2]]
        return {"embeddings": rows, "labels": torch.tensor([4, 4, 4, 4, 5, 5, 5, 6, 6])}

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
        return {name: inputs[name][:0] for name in REFERENCES}

    def other_labels(inputs):
        return references(inputs) | {"ref_labels": inputs["ref_labels"] + 1000}

    def one_feature(inputs):
        return {"embeddings": inputs["embeddings"][:, :1]}

    alone = labels(*range(9))
    one_class = labels(*[5] * 9)
    two_classes = labels(*[5, 6, 5, 6, 5, 6, 5, 6, 6])
    nan_row = put_in(NAN, embeddings=(4, 1))
    nothing = [0.0] * 9
    edges = [
        Edge("empty batch", with_rows(same, n=0), rows=[]),
        Edge("empty batch, references", with_rows(references, n=0), rows=[]),
        Edge("one row", with_rows(same, n=1), rows=[0.0]),
        Edge("two rows of a class", with_rows(labels(4, 4), n=2), rows=[0.0, 0.0]),
        Edge("two rows apart", with_rows(labels(4, 5), n=2), rows=[0.0, 0.0]),
        Edge("three rows", with_rows(labels(4, 5, 4), n=3)),
        Edge("classes of one", with_rows(alone), rows=nothing),
        Edge("a pair among classes of one", with_rows(labels(0, 1, 2, 3, 1, 5, 6, 7, 8))),
        Edge("one class", with_rows(one_class), rows=nothing),
        Edge("two classes", with_rows(two_classes)),
        Edge("zero row", with_rows(put_in(0.0, embeddings=2))),
        Edge("zero reference", with_rows(both(references, put_in(0.0, ref_embeddings=2)))),
        Edge("all rows equal", with_rows(both(all_alike, two_classes)), terms=10.0),
        Edge("duplicates", with_rows(duplicates)),
        Edge("references are the rows", with_rows(references_are_rows)),
        Edge("no references", with_rows(no_references), rows=nothing),
        Edge("references of other labels", with_rows(other_labels), rows=nothing),
        Edge("one reference", with_rows(references, m=1), rows=nothing),
        Edge("strided", with_rows(strided)),
        Edge("transposed", with_rows(transposed)),
        Edge("extreme labels", with_rows(labels(*[2**63 - 1, -(2**63), 0] * 3))),
        Edge("NaN row", with_rows(both(two_classes, nan_row)), [NAN] * 9, False),
        Edge("NaN row, classes of one", with_rows(both(alone, nan_row)), nothing, False),
        Edge("NaN row, one class", with_rows(both(one_class, nan_row)), nothing, False),
        Edge(
            "NaN reference",
            with_rows(both(references, put_in(NAN, ref_embeddings=(0, 1)))),
            gradients=False,
        ),
    ]
    if similarity != "cosine":  # of one feature there are two directions
        edges.append(Edge("one feature", with_rows(one_feature), terms=10.0))
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
        names = ("embeddings", "ref_embeddings") if references else ("embeddings",)
        changed = {
            name: (inputs[name].double() * factors[: len(inputs[name])]).to(dtype) for name in names
        }
        changed |= {"ref_labels": inputs["ref_labels"]} if references else {}
        return changed | {"labels": inputs["labels"], "similarity": "cosine"}

    return arguments


def offset(similarity, references):
    """A shared offset of 100 must not cost the digits of distances around 1, or of zero."""

    def arguments(dtype):
        size = PairSize(11, 13, 6, offset=100.0)
        inputs = draw(torch.Generator().manual_seed(3), dtype, size)
        rows, refs = inputs["embeddings"].clone(), inputs["ref_embeddings"].clone()
        rows[[3, 5]] = rows[[2, 2]]
        refs[[1, 4]] = rows[[2, 4]]
        chosen = {"embeddings": rows, "labels": inputs["labels"]}
        if references:
            chosen |= {"ref_embeddings": refs, "ref_labels": inputs["ref_labels"]}
        return chosen | {"similarity": similarity, "margin": 0.3}

    return arguments


def edges(**options):
    for similarity in SIMILARITIES:
        yield from labelled_edges(similarity, **options)
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


# ----------------------------------------------------------------------------------------- errors


def errors():
    # The good call: embeddings (4, 3), labels (4,).
    name, long = "embeddings", torch.int64
    yield Error("embeddings is a list", put(embeddings=[[1.0]]), TypeError, name)
    yield Error("embeddings is None", put(embeddings=None), TypeError, name)
    for dims in ((), (4,), (4, 3, 1), (4, 0)):
        yield Error(f"embeddings {dims}", bad.shape(name, *dims), ValueError, name)
    for dtype in (long, torch.bool, torch.complex64):
        yield Error(f"embeddings {dtype}", bad.shape(name, 4, 3, dtype=dtype), TypeError, name)
    yield from bad.id_errors("labels", 4, 6)
    yield Error("labels None", put(labels=None), TypeError, "labels")
    yield Error("labels int32", bad.shape("labels", 4, dtype=torch.int32), TypeError, "labels")

    rows, labels = torch.ones(5, 3), torch.zeros(5, dtype=long)
    yield Error("no ref_labels", put(ref_embeddings=rows), ValueError, "ref_labels")
    yield Error("no ref_embeddings", put(ref_labels=labels), ValueError, "ref_embeddings")
    for value, exception in (
        (rows.tolist(), TypeError),
        (rows[0], ValueError),
        (rows[:, :2], ValueError),
        (rows[..., None], ValueError),
        (rows.double(), TypeError),
        (rows.long(), TypeError),
        (rows.to(bad.META), ValueError),
    ):
        change = put(ref_embeddings=value, ref_labels=labels)
        shown = tuple(getattr(value, "shape", ()))
        text = f"ref_embeddings {type(value).__name__} {getattr(value, 'dtype', '')} {shown}"
        yield Error(text, change, exception, "ref_embeddings")
    for value, exception in (
        (labels.tolist(), TypeError),
        (labels[:4], ValueError),
        (labels[:1], ValueError),
        (labels[:, None], ValueError),
        (labels.float(), TypeError),
        (labels.int(), TypeError),
        (labels.to(bad.META), ValueError),
    ):
        change = put(ref_embeddings=rows, ref_labels=value)
        shown = tuple(getattr(value, "shape", ()))
        text = f"ref_labels {type(value).__name__} {getattr(value, 'dtype', '')} {shown}"
        yield Error(text, change, exception, "ref_labels")
    for margin in (-0.1, NAN, float("inf")):
        yield Error(f"margin {margin}", put(margin=margin), ValueError, "margin")
    for margin in ("1", None, True, torch.tensor(1.0)):
        yield Error(f"margin {margin!r}", put(margin=margin), TypeError, "margin")
    yield from bad.choice_errors("similarity", "cos")


# ----------------------------------------------------------------------------------------- bounds


def memory_bound(arguments, wrt):
    """Beside the workspace: accumulators, two of one set, returned gradients, O(n + m) vectors, and
    sixteen rows of distances that are kept in any case."""
    rows, references = arguments["embeddings"], arguments.get("ref_embeddings")
    accumulators = sum(4 * arguments[name].numel() for name in wrt)
    if references is None and wrt:
        accumulators += 4 * rows.numel()
    returned = sum(arguments[name].element_size() * arguments[name].numel() for name in wrt)
    m = len(rows if references is None else references)
    vectors = 16 * 8 * (len(rows) + m) + 16 * 8 * m + 64 * 1024
    return accumulators + returned + vectors


def products(arguments, wrt):
    """Distances 1 G, again for "none"; of one set both gradients are formed, a product each."""
    one_set = arguments.get("ref_embeddings") is None
    operands = ("embeddings", "embeddings" if one_set else "ref_embeddings")
    gradients = sum(name in wrt for name in operands)
    again = bool(wrt) and arguments.get("reduction") == "none"
    count = 1 + gradients + again
    return padded_products(arguments, operands, count, count)


# What the cases of losses over all triplets share.
SHARED = {
    "draw": draw,
    "required": ("embeddings", "labels"),
    "operands": ("embeddings",),
    "rows_are_independent": False,
    "sizes": (
        PairSize(41, 37, 33),
        PairSize(37, 40, 70),
        PairSize(1, 1, 1),
        PairSize(3, 3, 4),
        PairSize(50, 20, 8),
        PairSize(31, 40, 17, scale=30.0),
        PairSize(18, 15, 17, offset=3.0),
    ),
    "small": PairSize(4, 6, 3),
    "large": PairSize(1024, 1024, 64),
    "thread_sizes": ((45, 40), (3, 60)),
    "few": ("euclidean, all",),
    "differentiable": ("embeddings", "ref_embeddings"),
    "memory_bound": memory_bound,
    "products": products,
}
