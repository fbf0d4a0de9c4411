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
FACTORS = "csrc/engines/row_factors_torch.h"
GLUE = "csrc/engines/pairwise_torch.inl"
CLASSIFIER = "csrc/losses/linear_cross_entropy.h"
CLIP = "csrc/losses/clip_loss.h"
SIGLIP = "csrc/losses/siglip_loss.h"
IN_BATCH = "csrc/losses/in_batch_loss.h"
ONE_PASS_SUMS = "csrc/losses/one_pass_sums.h"
ONE_PASS = "csrc/engines/pairwise_cpu_onepass.inl"
LOGSUMEXP = "csrc/losses/pairwise_logsumexp.h"
RANKNET = "csrc/losses/ranknet_loss.h"
PAIR_HINGE = "csrc/losses/pairwise_hinge_loss.h"
SORTED_PAIRS = "csrc/engines/sorted_pairs.h"
LISTNET = "csrc/losses/listnet_loss.h"
LISTWISE = "csrc/engines/listwise_cpu.h"
BPR = "csrc/losses/bpr_loss.h"
SAMPLED_SOFTMAX = "csrc/losses/sampled_softmax_loss.h"
CROSS_ENTROPY = "csrc/losses/cross_entropy.h"
KL = "csrc/losses/kl_div_with_logits.h"
SOFTMAX_ROW = "csrc/losses/softmax_row.h"
POINTWISE = "csrc/engines/pointwise_cpu.h"
SAMPLED = "csrc/engines/sampled_cpu.h"
SWEEP = "csrc/engines/pair_sweep.h"
SELF_STATES = "csrc/engines/self_cpu_states.inl"
SELF_GRADIENT = "csrc/engines/self_cpu_gradient.inl"
SUP_CON = "csrc/losses/sup_con.h"
ROW_DISTANCE = "csrc/engines/row_distance.h"
ROWWISE = "csrc/engines/rowwise_cpu.h"
CONTRASTIVE = "csrc/losses/contrastive_loss.h"
BATCH_HARD = "csrc/losses/batch_hard_triplet_loss.h"
CHOSEN = "csrc/engines/chosen_triplets.h"
CONTRASTIVE_PAIRS = "csrc/losses/pairwise_contrastive_loss.h"
ROW_PAIRS = "csrc/engines/row_pairs.h"
COMPLETE_ROWS = "csrc/engines/pairwise_cpu_rows.inl"
SEMI_HARD = "csrc/losses/semi_hard_triplet_loss.h"
STATISTICS = "csrc/losses/triplet_statistics.h"
OP = "fastloss/_pairwise.py"
REFERENCE = "fastloss/reference/contrastive/info_nce.py"

MUTANTS = (
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
    ("ListNet: a winner swallows the rest", LISTNET, "if (exp_sum < T(2)) {", "if (false) {"),
    (
        "ListNet: what fills up weighs",
        LISTNET,
        "padded_score + lanes, -math",
        "padded_score + lanes, math",
    ),
    (
        "ListNet: a long list's spans all like its first",
        LISTNET,
        "if (!keeps) fill_span",
        "if (!keeps && first == 0) fill_span",
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
        "a row's class stays in its sum",
        POINTWISE,
        "z[at] = -math::kInfinity<T>;",
        "",
    ),
    ("a row's later classes forgotten", POINTWISE, "state.merge(more[r]);", ""),
    (
        "masked negatives of short rows count",
        SAMPLED,
        "kept[c * kLanes + r] = r < rows && where[r * n + c] ? kept[r] : T(0);",
        "kept[c * kLanes + r] = kept[r];",
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
    (
        "a negative is pulled",
        ROWWISE,
        "add(to.pair, -slope,",
        "add(to.pair, slope,",
    ),
    (
        "slope of a norm with its own power",
        ROW_DISTANCE,
        "power = p - 1, distance",
        "power = p, distance",
    ),
    (
        "rows at the ends of the range are not scaled",
        ROW_DISTANCE,
        "pair.delta.unit = unit_of(largest_difference(x, y, d));",
        "",
    ),
    (
        "dissimilar pairs attract",
        CONTRASTIVE,
        "{gap * gap, T(-2) * gap}",
        "{gap * gap, T(2) * gap}",
    ),
    ("rows of weight 0 are read", ROWWISE, "if (weight == 0) {", "if (false) {"),
    (
        "a row meets itself",
        SELF_STATES,
        "if (itself >= from && itself < panel.width) span[itself] = -math::kInfinity<T>;",
        "",
    ),
    ("columns are not fed", SELF_STATES, "if (panel.own && both < t.width) {", "if (false) {"),
    ("columns of the block fed twice", SELF_STATES, "both = t.both();", "both = t.from;"),
    (
        "moment of both orders counted twice",
        SELF_GRADIENT,
        "static_cast<double>(twice) / 2",
        "static_cast<double>(twice)",
    ),
    (
        "rows of a panel below the block left out",
        SELF_GRADIENT,
        "add(row, count, tile_of(row, count, panel).both());",
        "",
    ),
    (
        "partner's share of the pair left out",
        SELF_GRADIENT,
        "dtarget + row_grad_(partner) * rows_[partner].dtarget;",
        "dtarget;",
    ),
    (
        "kept tiles taken for those of the next rows",
        SELF_GRADIENT,
        "const int64_t end = std::min(is_kept ? kept : in_.n, row + acc.chunk_rows);",
        "const int64_t end = std::min(in_.n, row + acc.chunk_rows);",
    ),
    (
        "gaps of positives do not move with the maximum",
        SUP_CON,
        "gap + count * (larger - max), count}",
        "gap, count}",
    ),
    (
        "a positive's share with the wrong sign",
        SUP_CON,
        "(term - mean) - share",
        "(term - mean) + share",
    ),
    (
        "small loss of one positive cancels",
        SUP_CON,
        "log1p((state.positives - T(1)) + state.others)",
        "log1p((state.positives + state.others) - T(1))",
    ),
    ("of equal negatives the last", BATCH_HARD, "(z >= largest[j])", "(z > largest[j])"),
    ("nearest positive", BATCH_HARD, "(z <= least[j])", "(z >= least[j])"),
    (
        "a row is its own positive",
        BATCH_HARD,
        "if (itself < 0 || itself >= count) return",
        "if (true) return",
    ),
    (
        "extrema forget which is lower",
        BATCH_HARD,
        "(other.value == value && lower)",
        "other.value == value",
    ),
    (
        "the chosen negative is pulled",
        CHOSEN,
        "% 2 == 0 ? slopes[i] : -slopes[i]",
        "% 2 == 0 ? slopes[i] : slopes[i]",
    ),
    (
        "an anchor does not move itself",
        CHOSEN,
        "add_own(i, slopes.data(), scratch, out);",
        "",
    ),
    (
        "a pair counted by both of its rows",
        CONTRASTIVE_PAIRS,
        "std::clamp<int64_t>(row + 1 - column, 0, count)",
        "std::clamp<int64_t>(row + 1 - column, 0, 0)",
    ),
    (
        "gradient of earlier columns left out",
        CONTRASTIVE_PAIRS,
        "out[j] -= factor[j] *",
        "out[j] -= T(0) *",
    ),
    (
        "distances for similarities",
        CONTRASTIVE_PAIRS,
        "out[j] = -factor *",
        "out[j] = factor *",
    ),
)
