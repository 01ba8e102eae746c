#!/usr/bin/env bash
# Measures pages of a running server with Lighthouse, as a phone and as a desktop see them: tools/lighthouse.sh [SERVER] [PATH…]
# Lighthouse comes by npm into its cache; CHROME_PATH says which Chromium, if not Debian's.
set -euo pipefail
server=${1:-http://127.0.0.1:8080}
shift || true
[ $# -gt 0 ] || set -- '/' '/?q=sentence+embeddings' '/paper/ARXIV:1908.10084' '/list#list=ARXIV:1908.10084,ARXIV:2104.08821' '/map' '/status'
export CHROME_PATH=${CHROME_PATH:-$(command -v chromium || command -v google-chrome)}
flags='--headless=new'
[ "$(id -u)" != 0 ] || flags="$flags --no-sandbox" # Chromium does not start as root with one
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for path in "$@"; do
	for form in mobile desktop; do
		preset=()
		[ $form = mobile ] || preset=(--preset=desktop)
		npm exec --yes --package=lighthouse@12.8.2 -- lighthouse "$server$path" "${preset[@]}" --quiet --output=json --output-path="$out/report.json" \
			--only-categories=performance,accessibility,best-practices --chrome-flags="$flags" 2>"$out/log" || { cat "$out/log" >&2; exit 1; }
		node -e '
			const report = JSON.parse(require("fs").readFileSync(process.argv[1])), value = (id) => report.audits[id].displayValue ?? "-";
			if (report.runtimeError) { console.log(process.argv[2], process.argv[3], "was not measured:", report.runtimeError.code); process.exit(); }
			const low = Object.values(report.categories).flatMap((c) => c.auditRefs).filter((r) => r.weight > 0).map((r) => report.audits[r.id]).filter((a) => a.score !== null && a.score < 0.9).map((a) => a.id);
			console.log(process.argv[2].padEnd(44), process.argv[3].padEnd(8), Object.values(report.categories).map((c) => `${c.id} ${Math.round(c.score * 100)}`).join(", ") + ";",
				"LCP", value("largest-contentful-paint"), "TBT", value("total-blocking-time"), "CLS", value("cumulative-layout-shift"), low.length ? `; low: ${low.join(" ")}` : "");
		' "$out/report.json" "$path" $form
	done
done
