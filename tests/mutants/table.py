"""Planted bugs: (name, file, old text, new text). The old text occurs exactly once in its file.

A survivor means that a test is missing; a stale old text means that this table is.
"""

FUNCTOR = "csrc/losses/info_nce.h"
LSE = "csrc/core/lse.h"
SIMILARITY = "csrc/engines/similarity.h"
FORWARD = "csrc/engines/pairwise_cpu_forward.inl"
GRADIENT = "csrc/engines/pairwise_cpu_gradient.inl"
DERIVATIVES = "csrc/engines/pairwise_derivatives.h"
ARGUMENTS = "csrc/engines/pairwise_arguments.h"
GLUE = "csrc/engines/pairwise_torch.inl"
CLASSIFIER = "csrc/losses/linear_cross_entropy.h"
CLIP = "csrc/losses/clip_loss.h"
LOGSUMEXP = "csrc/losses/pairwise_logsumexp.h"
RANKNET = "csrc/losses/ranknet_loss.h"
PAIR_HINGE = "csrc/losses/pairwise_hinge_loss.h"
SORTED_PAIRS = "csrc/engines/sorted_pairs.h"
LISTWISE = "csrc/engines/listwise_cpu.h"
BPR = "csrc/losses/bpr_loss.h"
SAMPLED_SOFTMAX = "csrc/losses/sampled_softmax_loss.h"
CROSS_ENTROPY = "csrc/losses/cross_entropy.h"
KL = "csrc/losses/kl_div_with_logits.h"
SOFTMAX_ROW = "csrc/losses/softmax_row.h"
POINTWISE = "csrc/engines/pointwise_cpu.h"
SWEEP = "csrc/engines/pair_sweep.h"
ROW_PAIRS = "csrc/engines/row_pairs.h"
COMPLETE_ROWS = "csrc/engines/pairwise_cpu_rows.inl"
SEMI_HARD = "csrc/losses/semi_hard_triplet_loss.h"
STATISTICS = "csrc/losses/triplet_statistics.h"
OP = "fastloss/_pairwise.py"
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
    ("smoothing with the wrong sign", FUNCTOR, ") - uniform;", ") + uniform;"),
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
    ("target without its bias", FORWARD, "in_.key_bias[target] : T(0)", "T(0) : T(0)"),
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
        "from * width, width, !chunk.first_rows);",
        "from * width, width, false);",
    ),
    (
        "only the last chunk reaches the keys, cut by panels",
        GRADIENT,
        "column * d, width, !chunk.first_rows);",
        "column * d, width, false);",
    ),
    (
        "one range of panels reaches the queries",
        GRADIENT,
        "query[i] = store ? part[i] : query[i] + part[i];",
        "query[i] = part[i];",
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
        "if (sums.row) sums.row[r] += w;",
        "",
    ),
    (
        "bias gradient of one block only",
        GRADIENT,
        "+= acc.block_bias[from];",
        "= acc.block_bias[from];",
    ),
    ("mean over all rows", GLUE, "if (rows[i].counts()) sum", "sum"),
    ("temperature's sign", GLUE, "divides_ ? -dscale_", "divides_ ? dscale_"),
    (
        "upstream gradient of the mean ignored",
        OP,
        "gradient * grad_loss  #",
        "gradient * 1  #",
    ),
    (
        "gradients formed under no_grad",
        OP,
        "grad_enabled and needs[1 + i]",
        "needs[1 + i]",
    ),
    (
        "upstream gradient of the rows ignored",
        GLUE,
        " * (upstream ? upstream[i] : T(1));",
        ";",
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
    (
        "target's class weight forgotten",
        CLASSIFIER,
        "const T weight = weight_of(column);",
        "const T weight = T(1);",
    ),
    (
        "smoothing leaves the target out",
        CLASSIFIER,
        "others.scores.merge({weight * target, weight, T(1)})",
        "others.scores.merge({weight * target, T(0), T(1)})",
    ),
    ("uniform part pulls", CLASSIFIER, "dscore[j] -= masked", "dscore[j] += masked"),
    ("class weights of another span", CLASSIFIER, "? class_weight + column", "? class_weight"),
    ("ignored rows keep a gradient", GLUE, "std::fill_n(out, in_.d, T(0));", ""),
    ("mean over rows, not class weights", GLUE, "divisors ? divisors : weights;", "weights;"),
    (
        "ignored rows are read",
        ARGUMENTS,
        "query = at::index_select(query, 0, kept);",
        "query = query.slice(0, 0, input.n);",
    ),
    ("both directions in full", GLUE, "kSymmetric ? T(0.5) : T(1)", "T(1)"),
    ("columns give no gradient", CLIP, "dscore[j] += factor[j] *", "dscore[j] += T(0) *"),
    (
        "a tile forgets the columns' former maximum",
        LSE,
        "max[j] = states[j].lse.max;",
        "max[j] = -math::kInfinity<T>;",
    ),
    (
        "targets pulled by their rows only",
        DERIVATIVES,
        "(rows_[row].dtarget + cols_[row].dtarget)",
        "rows_[row].dtarget",
    ),
    (
        "empty sum with a slope",
        LOGSUMEXP,
        "lse == -math::kInfinity<T> ? math::kInfinity<T> : lse",
        "lse",
    ),
    (
        "RankNet pushes apart the wrong way",
        RANKNET,
        "-sigma * scale * (u < T(0)",
        "sigma * scale * (u < T(0)",
    ),
    (
        "squared hinge half as steep",
        PAIR_HINGE,
        "(T(2) * squared) * finite)",
        "squared * finite)",
    ),
    (
        "sorted pairs forget the slope",
        SORTED_PAIRS,
        "const double scale = form_.factor * form_.slope;",
        "const double scale = form_.factor;",
    ),
    (
        "list weights not in the mean's divisor",
        LISTWISE,
        "divisor += weight * total.count;",
        "divisor += total.count;",
    ),
    ("BPR with the other sigmoid", BPR, "both.sigmoid}", "both.sigmoid_minus}"),
    (
        "sampled softmax pulls the negatives",
        SAMPLED_SOFTMAX,
        "both.sigmoid / negatives.sum}",
        "-both.sigmoid / negatives.sum}",
    ),
    ("a block's carry is forgotten", SWEEP, "    state.add(own);\n", ""),
    (
        "hinge active at its kink",
        SWEEP,
        "items_[low].score + shift_ <= items_[high].score)",
        "items_[low].score + shift_ < items_[high].score)",
    ),
    (
        "reverse divergence with the wrong normaliser",
        KL,
        "mean - math::log(state.all.sum)",
        "mean + math::log(state.all.sum)",
    ),
    (
        "smoothing pushes the target",
        CROSS_ENTROPY,
        "(mass * both.sigmoid_minus - counted)",
        "(mass * both.sigmoid_minus + counted)",
    ),
    (
        "moments move the wrong way",
        SOFTMAX_ROW,
        "gap = (gap + mass * distance)",
        "gap = (gap - mass * distance)",
    ),
    (
        "thresholds rounded to nearest",
        ROW_PAIRS,
        "return static_cast<double>(rounded) > threshold",
        "return false",
    ),
    ("search steps too short", ROW_PAIRS, "? step : 0;", "? step - 1 : 0;"),
    ("triplets at their kink are active", ROW_PAIRS, "key <= z : key < z;", "key <= z : key <= z;"),
    ("positives pulled by the wrong count", ROW_PAIRS, "counts_[i] = beyond;", "counts_[i] = i;"),
    (
        "the anchor is its own positive",
        ROW_PAIRS,
        "if (column == self) continue;",
        "",
    ),
    (
        "semi-hard takes the nearest of all",
        ROW_PAIRS,
        "best.column >= 0 ? best : farthest",
        "nearest[sorted_].column >= 0 ? nearest[sorted_] : farthest",
    ),
    (
        "semi-hard pulls its negative",
        SEMI_HARD,
        "[negative.column] += T(1)",
        "[negative.column] -= T(1)",
    ),
    ("hard triplets are semi-hard", STATISTICS, "row.active - row.hard)", "row.active)"),
    (
        "a row's factor is forgotten",
        COMPLETE_ROWS,
        "factor * dscore[column + j]",
        "dscore[column + j]",
    ),
    ("row sums of one panel", COMPLETE_ROWS, "sums.row[r] += sum;", "sums.row[r] = sum;"),
    ("upstream gradients of elements ignored", POINTWISE, "out[i] *= each[i];", "out[i] *= T(1);"),
)
