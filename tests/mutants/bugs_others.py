"""Bugs in the losses of scores, of lists, of rows and of one set."""

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

OTHERS = (
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
