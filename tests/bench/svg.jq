# A chart of one group: a line a row, a mark a system, on a logarithmic axis; a whisker from the smallest to the largest sample.
include "figures";

def escape: gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub(">"; "&gt;") | gsub("\""; "&quot;");

def chart_colors($ink; $soft; $line; $native; $blue; $orange; $violet; $green; $teal):
	".chart text{fill:\($ink)}.chart .soft{fill:\($soft)}.chart .grid{stroke:\($line)}"
	+ ([[["native", $native], ["blue", $blue], ["orange", $orange], ["violet", $violet], ["green", $green], ["teal", $teal]][]
		| ".chart .\(.[0]){fill:\(.[1]);stroke:\(.[1])}"] | join(""));

def chart_style:
	".chart{font:12px system-ui,sans-serif}.chart .whisker{stroke-width:1.5;opacity:.6}"
	+ chart_colors("#1f2328"; "#59636e"; "#d1d9e0"; "#59636e"; "#0969da"; "#bc4c00"; "#8250df"; "#1a7f37"; "#0b7a75")
	+ "@media(prefers-color-scheme:dark){"
	+ chart_colors("#e6edf3"; "#9198a1"; "#3d444d"; "#9198a1"; "#58a6ff"; "#f0883e"; "#bc8cff"; "#3fb950"; "#39c5bb") + "}";

def color:
	{ overlayfs: "blue", "fuse-overlayfs": "orange", bindfs: "violet", veneer: "green", "veneer-cached": "green",
	"veneer-passthrough": "teal", git: "blue", ostree: "orange", dpkg: "violet" }[.] // "native";

# A shape as well as a colour for each.
def mark($x; $y):
	color as $color
	| if . == "overlayfs" or . == "git" then "<rect class=\"\($color)\" x=\"\($x - 4)\" y=\"\($y - 4)\" width=\"8\" height=\"8\"/>"
	elif . == "veneer" or . == "veneer-cached" then "<circle class=\"\($color)\" cx=\"\($x)\" cy=\"\($y)\" r=\"5\"/>"
	else "<path class=\"\($color)\" d=\"M\($x) \(
		if . == "fuse-overlayfs" or . == "ostree" then "\($y - 5)l5 9h-10z"
		elif . == "bindfs" or . == "dpkg" then "\($y + 5)l5 -9h-10z"
		elif . == "veneer-passthrough" then "\($y - 6)l6 6l-6 6l-6 -6z"
		else "\($y - 7)h1v14h-1z" end)\"/>" end;

def round1: . * 10 | floor / 10;
def short: if . >= 1 then digits else (. * 1000 + 0.5 | floor / 1000 | tostring) end;

# The axis: against the bare directory where every row has it, else the figures themselves.
def chart_relative: all(.[]; any(.results[]; .system == "native"));
def base_of($relative): if $relative then ([.results[] | select(.system == "native")] | .[0].median) else 1 end;

def ticks($low; $high): [range($low | log10 | floor; $high | log10 | ceil + 1) as $power | (1, 2, 5) * pow(10; $power)] | map(select(. >= $low * 0.999 and . <= $high * 1.001));

# Input: the rows of one group.
def chart($title):
	map(select(.results != [])) as $rows
	| ($rows | chart_relative) as $relative
	| ($rows[0].unit) as $unit
	| [$rows[] | base_of($relative) as $base | .results[] | (.minimum, .maximum, .median) / $base | select(. > 0)] as $values
	| (($values | min) / 1.15) as $low | (($values | max) * 1.15) as $high
	| 380 as $left | 900 as $right | 34 as $step | 44 as $top
	| ($top + $step * ($rows | length) + 8) as $bottom
	| def x: ((log10 - ($low | log10)) / (($high | log10) - ($low | log10)) * ($right - $left) + $left) | round1;
	([$rows[].results[].system] | unique) as $present
	| (["native", "overlayfs", "fuse-overlayfs", "bindfs", "veneer", "veneer-cached", "veneer-passthrough", "git", "ostree", "dpkg"] | map(select(. as $s | $present | index($s)))) as $systems
	| (ticks($low; $high) | if length > 9 then map(select(log10 as $l | ($l - ($l | round) | fabs) < 0.001)) else . end) as $ticks
	| "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 940 \($bottom + 40)\" role=\"img\" aria-label=\"\($title | escape)\"><style>\(chart_style)</style>"
	+ ([$systems | to_entries[] | "<g>\(.value | . as $s | mark(14 + (($systems | index($s)) * 148); 14))<text x=\"\(26 + .key * 148)\" y=\"18\">\(.value | reference_title($rows[0].group) | escape)</text></g>"] | join(""))
	+ ([$ticks[] | "<path class=\"grid\" d=\"M\(x) \($top - 6)V\($bottom)\"/><text class=\"soft\" x=\"\(x)\" y=\"\($bottom + 16)\" text-anchor=\"middle\">\(if $relative then "\(short) ×" else figure($unit) end)</text>"] | join(""))
	+ ([$rows | to_entries[] | ($top + .key * $step + 14) as $y | .value | base_of($relative) as $base | row_scale as $scale
		| "<text x=\"\($left - 14)\" y=\"\($y + 4)\" text-anchor=\"end\">\(.title | if length > 58 then .[0:57] + "…" else . end | escape)</text>"
		+ ([.results[] | (.median / $base) as $value | select($value > 0)
			| "<g><title>\(.system | system_title): \(.median | in_scale($scale)) \($scale[1]) (\(spread($scale)))</title>"
			+ "<path d=\"M\(([.minimum / $base, $low] | max) | x) \($y)H\((.maximum / $base) | x)\" class=\"whisker \(.system | color)\"/>"
			+ (.system | mark($value | x; $y)) + "</g>"] | join(""))] | join(""))
	+ "<text class=\"soft\" x=\"\($right)\" y=\"\($bottom + 34)\" text-anchor=\"end\">\(if $relative then "times the bare directory, logarithmic; to the left is faster" elif $unit == "bytes" then "logarithmic; to the left is less" else "logarithmic; to the left is faster" end)</text></svg>";
