"""How good the samples are, measured."""
