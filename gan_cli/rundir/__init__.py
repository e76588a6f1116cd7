"""The run folder: its layout, checkpoints, records, and safe writing of files."""
