"""3FabRec: an autoencoder of faces, and landmarks from a handful of labels (Browatzki and Wallraven, CVPR 2020)."""
