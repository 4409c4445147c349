"""Defects of a server, one small patch each, and the requirement whose case has to notice it.

A mutant is a function that changes the imported code for the rest of the process. `MUTANTS` says which cases are run
against it (by requirement) and under which settings of the door. The defects are in the modules beside, by section.
"""

import mutants_frames
import mutants_requests
import mutants_streams
import mutants_terms
from mutation import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "apply", "mutants_frames", "mutants_requests", "mutants_streams", "mutants_terms"]


def apply(name: str) -> None:
    """Change this process."""
    MUTANTS[name].patch()
