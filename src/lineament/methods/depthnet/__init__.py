"""DepthNets: depth of a face from its keypoints and those of another face."""
