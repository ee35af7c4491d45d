"""Turns the face of a photo: keypoints ─► fitted head ─► keypoint depth ─► dense surface ─► images."""
