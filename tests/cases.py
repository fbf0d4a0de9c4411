"""One declaration a loss. Everything generic in tests/ runs over CASES.

To test a new loss, add its module cases_<name>.py here and its signature to signatures.py; what
is particular to it (published numbers, identities) goes to test_written_values.py and
test_identities.py.
"""

from __future__ import annotations

import cases_batch_all_triplet_loss
import cases_batch_hard_triplet_loss
import cases_binary_cross_entropy
import cases_binary_cross_entropy_with_logits
import cases_bpr_loss
import cases_clip_loss
import cases_contrastive_loss
import cases_cross_entropy
import cases_hinge_loss
import cases_in_batch_bpr_loss
import cases_in_batch_hinge_loss
import cases_info_nce
import cases_kl_div_with_logits
import cases_labelled_triplet_loss
import cases_linear_cross_entropy
import cases_listnet_loss
import cases_nt_xent
import cases_pairwise_contrastive_loss
import cases_pairwise_hinge_loss
import cases_pairwise_logsumexp
import cases_pairwise_margin_loss
import cases_ranknet_loss
import cases_sampled_softmax_loss
import cases_semi_hard_triplet_loss
import cases_siglip_loss
import cases_sup_con
import cases_triplet_margin_loss

CASES = (
    cases_batch_all_triplet_loss.CASE,
    cases_batch_hard_triplet_loss.CASE,
    cases_binary_cross_entropy.CASE,
    cases_binary_cross_entropy_with_logits.CASE,
    cases_bpr_loss.CASE,
    cases_clip_loss.CASE,
    cases_contrastive_loss.CASE,
    cases_cross_entropy.CASE,
    cases_hinge_loss.CASE,
    cases_in_batch_bpr_loss.CASE,
    cases_in_batch_hinge_loss.CASE,
    cases_info_nce.CASE,
    cases_kl_div_with_logits.CASE,
    cases_labelled_triplet_loss.CASE,
    cases_linear_cross_entropy.CASE,
    cases_listnet_loss.CASE,
    cases_nt_xent.CASE,
    cases_pairwise_contrastive_loss.CASE,
    cases_pairwise_hinge_loss.CASE,
    cases_pairwise_logsumexp.CASE,
    cases_pairwise_margin_loss.CASE,
    cases_ranknet_loss.CASE,
    cases_sampled_softmax_loss.CASE,
    cases_semi_hard_triplet_loss.CASE,
    cases_siglip_loss.CASE,
    cases_sup_con.CASE,
    cases_triplet_margin_loss.CASE,
)
PAIRWISE = tuple(case for case in CASES if case.is_pairwise)

# Each differs from another loss in its functor alone, which tests of seconds a loss do not meet.
ALIKE = (
    "contrastive_loss",  # triplet_margin_loss
    "in_batch_hinge_loss",  # in_batch_bpr_loss
    "labelled_triplet_loss",  # triplet_margin_loss
    "pairwise_hinge_loss",  # ranknet_loss
    "pairwise_margin_loss",  # bpr_loss
    "semi_hard_triplet_loss",  # batch_all_triplet_loss
)
DIFFERENT = tuple(case for case in CASES if case.name not in ALIKE)

# For tests of seconds a loss that see a family's operators and modules, not its mathematics.
FAMILIES = (
    *("info_nce", "clip_loss", "siglip_loss"),  # two sets: rows, rows and columns, in one pass
    "nt_xent",  # one set
    *("batch_hard_triplet_loss", "triplet_margin_loss"),  # triplets: chosen, given
    *("ranknet_loss", "cross_entropy"),  # scores: lists, rows
)
ONE_OF_A_FAMILY = tuple(case for case in CASES if case.name in FAMILIES)
