"""The doctor: from the records of a run to findings, each with its evidence and the line to type. Pure functions."""
