#!/usr/bin/env bash
# Writes internal/gateway/openapi.json: what the annotations of the wire contract say, as OpenAPI 3.1.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
PATH=$PWD/tools/node_modules/.bin:$PATH buf generate --template buf.gen.openapi.yaml -o "$dir"
mapfile -t parts < <(find "$dir" -name '*.json' | LC_ALL=C sort)
go tool -modfile=tools/go.mod openapiv3-merge internal/gateway/openapi.head.json "${parts[@]}" >"$dir/all"
# The generator takes the answers of a stream for one message; there is one on each line.
node -e '
	const fs = require("fs"), all = JSON.parse(fs.readFileSync(process.argv[1]));
	for (const operation of [all.paths["/v1/papers:export"].get, all.paths["/v1/map:compute"].post, all.paths["/v1/jobs/{id}:watch"].get]) {
		const ok = operation.responses["200"];
		const piece = Object.values(ok.content)[0].schema;
		ok.description = "A message on each line.";
		ok.content = {"application/x-ndjson": {schema: {type: "string", description: "On each line {\"result\": …}, of the form " + (piece.$ref || "") + ", or {\"error\": …} at its end."}}};
	}
	// The file itself: see internal/gateway/jobs.go.
	const file = all.paths["/v1/jobs/{id}/files/{name}"].get.responses["200"];
	file.description = "The file.";
	file.content = {"application/vnd.apache.parquet": {}, "application/x-ndjson": {}, "text/csv": {}, "application/octet-stream": {}};
	fs.writeFileSync(process.argv[1], JSON.stringify(all, null, 2) + "\n");
' "$dir/all"
mv "$dir/all" internal/gateway/openapi.json
