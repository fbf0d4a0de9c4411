"""One declaration a loss. Everything generic in tests/ runs over CASES.

To test a new loss, add its module cases_<name>.py here and its signature to signatures.py; what
is particular to it (published numbers, identities) goes to test_written_values.py and
test_identities.py.
"""

from __future__ import annotations

import cases_clip_loss
import cases_info_nce
import cases_linear_cross_entropy
import cases_listnet_loss
import cases_pairwise_hinge_loss
import cases_pairwise_logsumexp
import cases_ranknet_loss

CASES = (
    cases_clip_loss.CASE,
    cases_info_nce.CASE,
    cases_linear_cross_entropy.CASE,
    cases_listnet_loss.CASE,
    cases_pairwise_hinge_loss.CASE,
    cases_pairwise_logsumexp.CASE,
    cases_ranknet_loss.CASE,
)
PAIRWISE = tuple(case for case in CASES if case.is_pairwise)
