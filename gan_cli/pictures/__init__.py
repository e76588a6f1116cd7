"""The pictures that people look at: grids of samples, curves, the figures of the 2014 paper, animations."""
