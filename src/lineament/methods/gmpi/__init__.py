"""GMPI: a StyleGAN2 made 3-D aware by multiplane images (Zhao et al., ECCV 2022), and the StyleGAN2 below it."""
