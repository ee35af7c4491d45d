"""Blocks of StyleGAN2 (Karras et al., CVPR 2020), in plain torch, so that gradients of any order are exact."""
