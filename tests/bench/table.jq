# The table on the terminal.
include "figures";

def pad($width): . + (" " * ([$width - length, 0] | max));
def right($width): (" " * ([$width - length, 0] | max)) + .;

def row_lines:
	row_scale as $scale | . as $row
	| "",
	.title,
	"  \("" | pad(20)) \("median" | right(12)) \("spread" | right(19))\([$row.references[] | "× \(.)" | right(17)] | join(""))",
	(.results[] | . as $result
		| "  \(.system | reference_title($row.group) | pad(20)) \("\(.median | in_scale($scale)) \($scale[1])" | right(12)) \(spread($scale) | right(19))"
		+ ([$row.references[] as $reference
			| $row | ratio($result.system; $reference) | if . == null then "" else digits end | right(17)] | join(""))
		+ (if .requests then "  requests: \(.requests | requests_text)" else "" end)),
	(.skipped[] | "  \(.system | pad(20)) not measured: \(.reason)");

. as $run
| (groups[] as $group
	| "", "=== \($group | group_title)", ($run.rows[] | select(.group == $group) | row_lines)),
"", "=== Targets",
(if $run.targets == [] then "none of these rows has one" else empty end),
($run.targets[] | unit_of($run.rows; .row) as $unit
	| "  \(.verdict | pad(13)) \(target_value($unit) | right(14))   \(target_limit($unit) | pad(34)) \(.row), \(.system_judged // .system)"),
(if $run.mode != "full" then "  (a \($run.mode) run: targets that speak of a size are judged in full runs only)" else empty end),
""
