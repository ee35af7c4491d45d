"""Predictors scored on sources: what can be measured of a capability, whatever method it comes from."""
