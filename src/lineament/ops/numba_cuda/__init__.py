"""GPU kernels in numba.cuda; NUMBA_ENABLE_CUDASIM=1 runs them on a CPU, slowly, for tests."""
