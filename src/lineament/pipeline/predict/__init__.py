"""Detection, landmarks, matches and depth on images and folders."""
