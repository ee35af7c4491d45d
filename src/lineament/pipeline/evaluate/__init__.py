"""Scores of runs, predictions and features on labelled data, and the few-shot study."""
