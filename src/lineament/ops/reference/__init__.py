"""Plain torch twins of the kernels: short, any device, float64 capable; the yardstick of the tests."""
