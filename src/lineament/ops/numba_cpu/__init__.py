"""CPU kernels. Compiled on first use and kept on disk; they release the interpreter lock."""
