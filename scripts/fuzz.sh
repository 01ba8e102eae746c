#!/usr/bin/env bash
# Runs each fuzz target for a while: scripts/fuzz.sh [TIME], 20s by default. A failing input is kept in the package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
failed=0
while IFS=: read -r file line; do
	name=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]+).*/\1/' <<<"$line")
	echo "$(dirname "$file") $name"
	if said=$(go test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "$time" 2>&1); then
		tail -n 1 <<<"$said"
	elif [ "$(grep -A 1 "^--- FAIL: $name " <<<"$said" | tail -n 1)" = "    context deadline exceeded" ]; then
		# Go before 1.27 sometimes reports the end of -fuzztime itself as a failure (go.dev/issue/75804). A failing input reads otherwise.
		echo "ok  	(the time was up)"
	else
		echo "$said"
		failed=1
	fi
done < <(git grep -E '^func Fuzz[A-Za-z0-9_]+\(' -- '*_test.go')
exit $failed
