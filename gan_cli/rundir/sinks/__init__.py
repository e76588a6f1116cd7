"""Sinks: other outputs of the records beside ``metrics.jsonl``, one module each. See gan_cli.rundir.records.Sink."""
