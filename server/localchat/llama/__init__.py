"""llama.cpp, as the engine sees it; the only package that imports `llama_cpp`."""
