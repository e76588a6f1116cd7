"""Generators and discriminators, one file per architecture.

A generator is built from the facts of the data and of the noise and maps latents ``[N, z_dim]`` to images
``[N, C, H, W]`` in [-1, 1]; a discriminator maps such images to logits ``[N]``. The constructors name the facts they
need: ``image_shape`` (C, H, W), ``z_dim``, and, where wanted, ``pixel_mean`` ([C, H, W], in [0, 1], or None when the
weights will be loaded) and ``classes``. With ``classes`` above 0 a network is conditional: forward takes ``labels``
besides, int64 ``[N]`` in [0, classes). All other arguments come from ``configs/net``. A size that the architecture
can't do is a ValueError that says which it can.
"""
