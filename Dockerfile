# An image of `localchat serve`; docs/docker.md says how to run it.

# Debian 13, for GCC 14: the newest of the arm64 variants below need it.
ARG BUILD_IMAGE=python:3.12-slim-trixie
ARG RUN_IMAGE=python:3.12-slim-trixie

# For NVIDIA GPUs, on x86-64 (`docker build` takes each after --build-arg; compose.yaml has them, commented out):
#   BUILD_IMAGE=nvidia/cuda:12.8.1-devel-ubuntu24.04
#   RUN_IMAGE=nvidia/cuda:12.8.1-runtime-ubuntu24.04
#   PYTHON_PACKAGES="python3 python3-venv"
#   EXTRA_CMAKE_ARGS=-DGGML_CUDA=ON

FROM ${BUILD_IMAGE} AS builder

ARG PYTHON_PACKAGES=""
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ cmake ninja-build $PYTHON_PACKAGES \
    && rm -rf /var/lib/apt/lists/*

# No cache: pip would keep the compiled wheel under a name that does not tell how it was compiled.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Not set unless given: an index of one's own, and the number of compilers at a time.
ARG PIP_INDEX_URL
ARG CMAKE_BUILD_PARALLEL_LEVEL

# One library for each generation of CPUs, of which the best that this machine can run is loaded at start. They must lie
# beside libllama, where localchat looks for them; llama-cpp-python moves only the libraries that it knows by name.
ARG LLAMA_CPP_PYTHON=0.3.36
ARG CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DLLAMA_OPENSSL=OFF \
    -DCMAKE_INSTALL_BINDIR=llama_cpp/lib -DCMAKE_INSTALL_LIBDIR=llama_cpp/lib"
ARG EXTRA_CMAKE_ARGS=""
RUN python3 -m venv /opt/localchat \
    && CMAKE_ARGS="$CMAKE_ARGS $EXTRA_CMAKE_ARGS" /opt/localchat/bin/pip install \
        --no-binary llama-cpp-python "llama-cpp-python==$LLAMA_CPP_PYTHON"

# A wheel cannot hold links, so every library is there once for each of its names. As copies, libggml.so and
# libggml.so.0 would be loaded both, each with a list of backends of its own, and llama.cpp would see the empty one.
RUN cd "$(/opt/localchat/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/llama_cpp/lib" \
    && for file in lib*.so.*.*.*; do \
        for copy in "${file%%.so.*}.so" "${file%%.so.*}".so.[0-9]; do ln -sf "$file" "$copy"; done; \
    done

WORKDIR /src
COPY pyproject.toml README.md LICENSE model_registry.toml ./
COPY server server
COPY quantize quantize
RUN /opt/localchat/bin/pip install ".[nvidia]"


FROM ${RUN_IMAGE}

LABEL org.opencontainers.image.title="localchat" \
    org.opencontainers.image.description="Open chat models on your own hardware, behind the OpenAI API" \
    org.opencontainers.image.licenses="MIT"

ARG PYTHON_PACKAGES=""
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 $PYTHON_PACKAGES \
    && rm -rf /var/lib/apt/lists/*

# A fresh volume takes over the mode of this folder, so that it can be written to under `--user` as well.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin localchat \
    && install -d -m 1777 /models

COPY --from=builder /opt/localchat /opt/localchat

# 0.0.0.0 is the container's own address; localchat does not start on it without LOCALCHAT_API_KEY.
ENV PATH=/opt/localchat/bin:$PATH \
    HOME=/tmp \
    HF_HOME=/models/huggingface \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    LOCALCHAT_HOST=0.0.0.0 \
    LOCALCHAT_MODELS_DIR=/models \
    LOCALCHAT_STORE=/models/store.sqlite3 \
    LOCALCHAT_PREFIX_DIR=/models/prefixes

VOLUME ["/models"]
EXPOSE 8000
USER 10001:10001

# SIGINT, and not SIGTERM, which process 1 ignores as long as it has no handler: while it downloads a model.
STOPSIGNAL SIGINT

# The first start downloads the model before it answers.
HEALTHCHECK --interval=10s --timeout=10s --start-period=15m --retries=3 CMD ["localchat", "health"]

ENTRYPOINT ["localchat"]
CMD ["serve"]
