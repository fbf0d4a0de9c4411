"""Bugs in the losses of two embedding sets, and in what all losses stand on."""

FUNCTOR = "csrc/losses/info_nce.h"
LSE = "csrc/core/lse.h"
SIMILARITY = "csrc/engines/similarity.h"
FORWARD = "csrc/engines/pairwise_cpu_forward.inl"
GRADIENT = "csrc/engines/pairwise_cpu_gradient.inl"
DERIVATIVES = "csrc/engines/pairwise_derivatives.h"
ARGUMENTS = "csrc/engines/pairwise_arguments.h"
FACTORS = "csrc/engines/row_factors_torch.h"
GLUE = "csrc/engines/pairwise_torch.inl"
CLASSIFIER = "csrc/losses/linear_cross_entropy.h"
CLIP = "csrc/losses/clip_loss.h"
SIGLIP = "csrc/losses/siglip_loss.h"
IN_BATCH = "csrc/losses/in_batch_loss.h"
ONE_PASS_SUMS = "csrc/losses/one_pass_sums.h"
ONE_PASS = "csrc/engines/pairwise_cpu_onepass.inl"
LOGSUMEXP = "csrc/losses/pairwise_logsumexp.h"
OP = "fastloss/_pairwise.py"
REFERENCE = "fastloss/reference/contrastive/info_nce.py"

PAIRWISE = (
    ("target pushed away", FUNCTOR, "T(0), -missing}", "T(0), missing}"),
    ("smoothing keeps the whole target", FUNCTOR, "kept = T(1) - smoothing", "kept = T(1)"),
    (
        "smoothing counts one too many",
        FUNCTOR,
        "smoothing / others.scores.count;",
        "smoothing / (others.scores.count + T(1));",
    ),
    ("smoothing with the wrong sign", FUNCTOR, ") - uniform;", ") + uniform;"),
    ("decoupled target pushed away", FUNCTOR, "T(0), T(-1)}", "T(0), T(1)}"),
    (
        "loss as a difference: cancels",
        FUNCTOR,
        "return {math::softplus(gap), normaliser,",
        "return {all.value() - target, normaliser,",
    ),
    (
        "1 - p as a difference: cancels",
        FUNCTOR,
        "missing = normaliser.probability(others.lse);",
        "missing = T(1) - normaliser.probability(target);",
    ),
    (
        "empty rows count",
        FUNCTOR,
        "if (all.empty()) return {};",
        "",
    ),
    (
        "probabilities through the logarithm: rounded to the size of the scores",
        LSE,
        "return inverse * math::exp_up_to_0(score - max);",
        "using std::log; return math::exp_up_to_0(score - (max - log(inverse)));",
    ),
    (
        "differences through the logarithm: rounded to the size of the scores",
        LSE,
        "return (max - x) + log(sum);",
        "return value() - x;",
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
        "const bool none = (z == T(0)) | (dscore == T(0));",
        "const bool none = dscore == T(0);",
    ),
    (
        "factor left out of the coefficients of a span",
        SIMILARITY,
        "squared_coefficient(scale, factor * dscore[j])",
        "squared_coefficient(scale, dscore[j])",
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
    ("mean over all rows", FACTORS, "if (rows[i].counts()) sum", "sum"),
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
        FACTORS,
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
        "const T weight = column >= 0 ? weight_of(column) : T(0);",
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
    ("mean over rows, not class weights", FACTORS, "divisors ? divisors : weights;", "weights;"),
    (
        "ignored rows are read",
        ARGUMENTS,
        "query = at::index_select(query, 0, kept);",
        "query = query.slice(0, 0, input.n);",
    ),
    ("both directions in full", GLUE, "kSymmetric ? T(0.5) : T(1)", "T(1)"),
    (
        "a pair pushed away",
        SIGLIP,
        "element.value, -element.derivative",
        "element.value, element.derivative",
    ),
    ("bias forgotten at the pair", SIGLIP, "at(-(target + bias))", "at(-target)"),
    (
        "the positive not pulled by all negatives",
        IN_BATCH,
        "static_cast<T>(-others.slope)",
        "T(-1)",
    ),
    ("an infinite target spoils what is masked", IN_BATCH, "s == -math::kInfinity<T> ? s : s", "s"),
    (
        "a masked score in the scale's gradient",
        ONE_PASS_SUMS,
        "moment += term.derivative == T(0) ? T(0) : term.derivative",
        "moment += term.derivative",
    ),
    ("long spans summed in one go", ONE_PASS_SUMS, "kBlock = 64;", "kBlock = 4096;"),
    (
        "spans added up in single precision",
        ONE_PASS_SUMS,
        "value += other.value;",
        "value = static_cast<float>(value + other.value);",
    ),
    (
        "a row's weight not in its coefficients",
        ONE_PASS,
        "span[j] = factor * dscore",
        "span[j] = dscore",
    ),
    (
        "only the last rectangle's rows",
        ONE_PASS,
        "states[chunk.row + r].merge(acc.spans",
        "states[chunk.row + r] = (acc.spans",
    ),
    ("targets give the keys no gradient", ONE_PASS, "grad[j] += from[j];", "grad[j] += 0;"),
    (
        "targets not in the column sums of distances",
        ONE_PASS,
        "if (acc.col_sum.size()) acc.col_sum[i] += w;",
        "",
    ),
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
        "if (state.lse.empty()) return {-math::kInfinity<T>, {}, T(0)};",
        "",
    ),
)
