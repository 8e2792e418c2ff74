#!/usr/bin/env bash
# Takes the steps of the Dockerfile without a container engine, runs what they made as compose.yaml would, asks it for
# an answer and stops it. Needs Linux, root and overlayfs; the system that it runs on stands in for the base images.
#
#   tests/container/check.sh               compiles llama.cpp once for each kind of CPU: some 18 minutes of one core
#   LAYERS=DIR tests/container/check.sh    keeps what was compiled in DIR, for the next time
#
# The build args CMAKE_BUILD_PARALLEL_LEVEL and PIP_INDEX_URL are taken from the environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "$(id -u)" != 0 ] || ! unshare --mount true 2>/dev/null || ! grep -qw overlay /proc/filesystems; then
    echo "nothing was checked: this needs Linux, root, a mount namespace of its own and overlayfs" >&2
    exit 2
fi

work=${LAYERS:-$(mktemp -d)}
mkdir -p "$work"
# All mounts are made in a namespace that is gone before anything is removed.
status=0
PYTHONPATH="$here/.." PYTHONDONTWRITEBYTECODE=1 unshare --mount --propagation private \
    python3 -m container.without_engine "$here/../.." "$work" || status=$?
[ -n "${LAYERS:-}" ] || rm -rf --one-file-system "$work"
exit "$status"
