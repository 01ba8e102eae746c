#!/usr/bin/env bash
# Runs each fuzz target for a while, two at once with a worker each: scripts/fuzz.sh [TIME], 20s by default. A failing input is kept in the
# package's testdata/fuzz. scripts/fuzz.sh TIME DIR NAME runs one.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
if [ $# -lt 3 ]; then
	git grep -E '^func Fuzz[A-Za-z0-9_]+\(' -- '*_test.go' | sed -E 's#^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]+).*#\1 \2#' | xargs -P 2 -L 1 scripts/fuzz.sh "$time"
	exit
fi
dir=$2 name=$3
if said=$(go test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -parallel 1 2>&1); then
	said=$(tail -n 1 <<<"$said")
elif [ "$(grep -A 1 "^--- FAIL: $name " <<<"$said" | tail -n 1)" = "    context deadline exceeded" ]; then
	# Go before 1.27 sometimes reports the end of -fuzztime itself as a failure (go.dev/issue/75804). A failing input reads otherwise.
	said="ok  	(the time was up)"
else
	printf '%s %s\n%s\n' "$dir" "$name" "$said"
	exit 1
fi
printf '%s %s\n%s\n' "$dir" "$name" "$said"
