"""Descriptor Vector Exchange (Thewlis, Albanie, Bilen, Vedaldi, ICCV 2019)."""
