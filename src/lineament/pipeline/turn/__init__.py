"""Turns the face of a photograph: keypoints ─► fitted head ─► keypoint depth ─► dense surface ─► pictures."""
