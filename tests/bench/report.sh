# shellcheck shell=bash
# From samples to JSON, and from JSON to the table, the page and the document.

# bench_jq FILTER [ARGUMENT]…: the filter tests/bench/FILTER.jq, which may import its siblings.
bench_jq() {
	local filter=$1
	shift
	jq -L "$BENCH" -f "$BENCH/$filter.jq" "$@"
}

# summarise DIR: the files of samples that are there, as one JSON document.
summarise() {
	bench_jq summary -n --rawfile rows "$1/rows" --rawfile samples "$1/samples" --slurpfile requests "$1/requests" \
		--rawfile skips "$1/skips" --rawfile defaults "$1/defaults" --rawfile machine "$1/machine" \
		--slurpfile targets "$BENCH/targets.json"
}

# report_all FILE.json: whatever was asked for.
report_all() {
	bench_jq table -r "$1"
	if [ -n "$json" ] && [ "$json" != "$1" ]; then
		cp "$1" "$json"
		say "figures: $json"
	fi
	if [ -n "$html" ]; then
		bench_jq page -r --slurpfile notes "$BENCH/notes.json" "$1" >"$html"
		say "page: $html"
	fi
	[ -z "$docs" ] || report_docs "$1"
}

# report_docs FILE.json: benchmarks.md, and beside it benchmarks/ with a chart a group, the page and the figures.
report_docs() {
	local group
	mkdir -p "$docs/benchmarks"
	cp "$1" "$docs/benchmarks/figures.json"
	bench_jq page -r --slurpfile notes "$BENCH/notes.json" "$1" >"$docs/benchmarks/page.html"
	for group in $(jq -r '[.rows[] | select(.results != []) | .group] | unique[]' "$1"); do
		bench_jq chart -r --arg group "$group" "$1" >"$docs/benchmarks/$group.svg"
	done
	bench_jq markdown -r --slurpfile notes "$BENCH/notes.json" "$1" >"$docs/benchmarks.md"
	say "document: $docs/benchmarks.md"
}
