#!/usr/bin/env bash
# Installs onnxruntime-web, which runs exported models in a browser (etdnn demo), into tools/web; quick and silent when
# it is there. See --help.
set -euo pipefail
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WEB=$ROOT/tools/web
VERSION=1.30.0
# SHA-512 of the package as npm publishes it: whatever way it came, it is this file.
HASH=q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==
# What a page needs of it: the interface, the loader, and all operators for the CPU.
FILES=(ort.wasm.min.mjs ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm)

tarball=
# shellcheck disable=SC2034  # printed by parse_options.sh
help_message="Usage: bash tools/install_web.sh [options]

Puts onnxruntime-web $VERSION into tools/web (14 MB), for 'etdnn demo'. Needs npm and a network, or its package as a file.

  --tarball FILE   install from FILE, without npm and a network. On a machine with both, make it by
                   npm pack onnxruntime-web@$VERSION"
# shellcheck source=utils/parse_options.sh
. "$ROOT/utils/parse_options.sh"

fail() {
  printf 'install_web.sh: error: %s\n' "$1" >&2
  exit 1
}

# True when this version is installed, whole.
in_place() {
  local name
  [[ -f $WEB/VERSION && $(<"$WEB/VERSION") == "$VERSION" ]] || return 1
  for name in "${FILES[@]}"; do [[ -s $WEB/$name ]] || return 1; done
}

# Leaves the package in $tarball.
fetch() {
  command -v npm >/dev/null ||
    fail "npm is not on PATH (Debian, Ubuntu: apt install npm); without it use --tarball FILE (--help)"
  if ! (cd "$SCRATCH" && npm pack --loglevel error --fetch-retries 1 --fetch-retry-mintimeout 1000 --fetch-timeout 60000 \
    "onnxruntime-web@$VERSION") >"$SCRATCH/npm.log" 2>&1; then
    fail "npm cannot fetch onnxruntime-web $VERSION ($(explain)); without a network use --tarball FILE (--help)"
  fi
  tarball=$SCRATCH/onnxruntime-web-$VERSION.tgz
}

# Prints npm's reason in one line.
explain() {
  sed -nE 's/^npm (error|ERR!) (code )?//p' "$SCRATCH/npm.log" | head -n 1
}

# Prints the SHA-512 of the file $1 in base64, as npm's lock files have it.
file_hash() {
  openssl dgst -sha512 -binary "$1" | base64 | tr -d '\n'
}

if [[ -n $tarball && ! -f $tarball ]]; then fail "--tarball: no such file: $tarball"; fi
if in_place; then exit 0; fi
for program in openssl tar; do command -v "$program" >/dev/null || fail "$program is not on PATH"; done
SCRATCH=$(mktemp -d "$ROOT/tools/.web.XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
if [[ -z $tarball ]]; then fetch; fi
[[ $(file_hash "$tarball") == "$HASH" ]] ||
  fail "$tarball is not onnxruntime-web $VERSION as published; make it by npm pack onnxruntime-web@$VERSION"
mkdir "$SCRATCH/web"
tar -xzf "$tarball" -C "$SCRATCH/web" --strip-components 2 "${FILES[@]/#/package/dist/}"
printf '%s\n' "$VERSION" >"$SCRATCH/web/VERSION"
chmod 755 "$SCRATCH/web"
rm -rf "$WEB"
mv "$SCRATCH/web" "$WEB"
printf 'install_web.sh: onnxruntime-web %s is in tools/web\n' "$VERSION" >&2
