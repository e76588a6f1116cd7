"""Generators and discriminators, one file per architecture.

A generator maps latents ``[N, z_dim]`` to images ``[N, C, H, W]`` in [-1, 1]. A discriminator maps such images to
logits ``[N]``. A discriminator with an attribute ``group`` makes a promise, and real and generated images then share
one pass. A ``group`` of 1: a logit depends on its own image alone. A ``group`` of k: if k divides N, a logit depends on
k images alone, each N / k places after the last. Constructors take the facts of the data and of the noise that they
need, by name: ``image_shape`` (C, H, W), ``z_dim``, and optionally ``classes`` and ``pixel_mean`` ([C, H, W], in [0,
1], or None when the weights will be loaded). With ``classes`` above 0 a network is conditional: forward also takes
``labels``, int64 ``[N]`` in [0, classes). All other arguments come from ``configs/net``. An image size that the
architecture does not support raises a ValueError that names a supported one.
"""
