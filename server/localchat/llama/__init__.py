"""llama.cpp, as the engine sees it; the only package that imports `llama_cpp`."""

import os

# Compute threads wait for each other after every operation. GNU OpenMP lets them spin for milliseconds before they
# sleep, which keeps a thread off the core that it waits for when another program has taken one. So many turns are
# about 0.1 ms: longer than an operation lets others wait on a quiet machine. Read once, when the library is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
