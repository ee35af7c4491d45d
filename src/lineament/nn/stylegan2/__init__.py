"""Blocks of StyleGAN2 (Karras et al., CVPR 2020); gradients of any order are exact."""
