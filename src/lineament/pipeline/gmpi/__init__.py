"""What is drawn from a generator of multiplane images: samples, videos, meshes."""
