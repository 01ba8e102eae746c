#!/usr/bin/env bash
# Writes internal/gateway/openapi.json: what the annotations of the wire contract say, as OpenAPI 3.1.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
PATH=$PWD/tools/node_modules/.bin:$PATH buf generate --template buf.gen.openapi.yaml -o "$dir"
mapfile -t parts < <(find "$dir" -name '*.json' | LC_ALL=C sort)
go tool -modfile=tools/go.mod openapiv3-merge internal/gateway/openapi.head.json "${parts[@]}" >"$dir/all"
mv "$dir/all" internal/gateway/openapi.json
