"""gan-cli: a command-line trainer for generative adversarial networks, from Goodfellow et al. 2014 on.

The commands are ``gan-train``, ``gan-sample`` and ``gan-eval``. From Python, start at :func:`gan_cli.loop.train`.
"""

__version__ = "0.1.0"
