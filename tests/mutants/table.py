"""Planted bugs: (name, file, old text, new text). The old text occurs exactly once in its file.

A survivor means that a test is missing; a stale old text means that its table is.
"""

from bugs_others import OTHERS
from bugs_pairwise import PAIRWISE

MUTANTS = (*PAIRWISE, *OTHERS)
