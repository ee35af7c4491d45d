"""The demo: what is drawn, trained, measured and shown."""
