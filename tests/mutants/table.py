"""Planted bugs: (name, file, old text, new text). The old text occurs exactly once in its file.

A survivor means that a test is missing; a stale old text means that this table is.
"""

FUNCTOR = "csrc/losses/info_nce.h"
LSE = "csrc/core/lse.h"
SIMILARITY = "csrc/engines/similarity.h"
FORWARD = "csrc/engines/pairwise_cpu_forward.inl"
GRADIENT = "csrc/engines/pairwise_cpu_gradient.inl"
GLUE = "csrc/engines/pairwise_torch.cpp"
OP = "fastloss/contrastive/info_nce.py"
REFERENCE = "fastloss/reference/contrastive/info_nce.py"

MUTANTS = (
    ("target pushed away", FUNCTOR, "lse, T(0), -missing}", "lse, T(0), missing}"),
    ("smoothing keeps the whole target", FUNCTOR, "kept = T(1) - smoothing", "kept = T(1)"),
    (
        "smoothing counts one too many",
        FUNCTOR,
        "smoothing / others.scores.count;",
        "smoothing / (others.scores.count + T(1));",
    ),
    ("smoothing with the wrong sign", FUNCTOR, ") - row.uniform;", ") + row.uniform;"),
    ("decoupled target pushed away", FUNCTOR, "negatives, T(0), T(-1)}", "negatives, T(0), T(1)}"),
    (
        "loss as a difference: cancels",
        FUNCTOR,
        "return {math::softplus(gap), lse,",
        "return {lse - target, lse,",
    ),
    (
        "1 - p as a difference: cancels",
        FUNCTOR,
        "missing = math::sigmoid(gap);",
        "missing = T(1) - math::sigmoid(-gap);",
    ),
    (
        "empty rows count",
        FUNCTOR,
        "if (negatives == -math::kInfinity<T>) return nothing();",
        "",
    ),
    (
        "merge forgets to shift",
        LSE,
        "other.sum * math::exp_up_to_0(other.max - reference)",
        "other.sum",
    ),
    (
        "-inf minus -inf",
        LSE,
        "return max == -math::kInfinity<T> ? T(0) : max;",
        "return max;",
    ),
    (
        "squared distance half as steep",
        SIMILARITY,
        "return 2 * scale * dscore;",
        "return scale * dscore;",
    ),
    (
        "slope of the root at zero",
        SIMILARITY,
        "return z == T(0) || dscore == T(0) ? T(0) : -scale",
        "return -scale",
    ),
    (
        "close pairs not recomputed",
        SIMILARITY,
        "close |= expanded < kDirectDistance<T> * norms ? 1 : 0;",
        "",
    ),
    ("margin forgotten", FORWARD, " - in_.scale * in_.margin + bias", " + bias"),
    (
        "ids: first column of a panel kept",
        FORWARD,
        "std::lower_bound(column, end, first);",
        "std::lower_bound(column, end, first + 1);",
    ),
    ("target without its bias", FORWARD, "in_.key_bias[in_.target[row]] : T(0)", "T(0) : T(0)"),
    (
        "own negatives forgotten",
        FORWARD,
        "if (in_.h > 0) state.merge(own_state_[row]);",
        "",
    ),
    (
        "cosine gradient not projected",
        GRADIENT,
        "factor * (grad[c] - along * x[c])",
        "factor * grad[c]",
    ),
    (
        "only the last chunk reaches the keys",
        GRADIENT,
        "cols_, cols_, !chunk.first_rows);",
        "cols_, cols_, false);",
    ),
    (
        "margin not in the temperature's gradient",
        GRADIENT,
        "dscore * (z - in_.scale * in_.margin)",
        "dscore * z",
    ),
    (
        "target not in the row sum of distances",
        GRADIENT,
        "if (acc.distance) acc.row_sum[row] += w;",
        "",
    ),
    (
        "bias gradient of one block only",
        GRADIENT,
        "+= acc.block_bias[from];",
        "= acc.block_bias[from];",
    ),
    ("mean over all rows", GLUE, "if (rows[i].counts()) sum", "sum"),
    ("temperature's sign", GLUE, "static_cast<T>(-dscale", "static_cast<T>(dscale"),
    (
        "upstream gradient of the mean ignored",
        OP,
        "next(gradients) * grad_loss",
        "next(gradients) * 1",
    ),
    (
        "gradients formed under no_grad",
        OP,
        "if grad_enabled else [False] * 5",
        "",
    ),
    (
        "upstream gradient of the rows ignored",
        GLUE,
        "return weights(i) * upstream[i];",
        "return weights(i);",
    ),
    (
        "reference: margin added",
        REFERENCE,
        "(scores - margin * is_target",
        "(scores + margin * is_target",
    ),
    (
        "reference: ids remove the target",
        REFERENCE,
        "key_ids[target][:, None]) | is_target)",
        "key_ids[target][:, None]))",
    ),
    (
        "reference: smoothing counts one too many",
        REFERENCE,
        "allowed.sum(1).clamp(min=1)",
        "allowed.sum(1) + 1",
    ),
)
