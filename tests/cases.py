"""One declaration a loss. Everything generic in tests/ runs over CASES.

To test a new loss, add its module cases_<name>.py here and its signature to signatures.py; what
is particular to it (published numbers, identities) goes to test_written_values.py and
test_identities.py.
"""

from __future__ import annotations

import cases_clip_loss
import cases_info_nce
import cases_linear_cross_entropy
import cases_pairwise_logsumexp

CASES = (
    cases_clip_loss.CASE,
    cases_info_nce.CASE,
    cases_linear_cross_entropy.CASE,
    cases_pairwise_logsumexp.CASE,
)
PAIRWISE = tuple(case for case in CASES if case.is_pairwise)
