"""Sinks: what is made of a run's records beside ``metrics.jsonl``, a module each. See gan_cli.rundir.records.Sink."""
