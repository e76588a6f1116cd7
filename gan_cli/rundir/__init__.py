"""The run folder: what lies where, checkpoints, records, and how files are written so that nothing is lost."""
