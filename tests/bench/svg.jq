# A chart of one group: a line a row, a mark a system, on a logarithmic axis; a whisker from the smallest to the largest sample.
include "figures";

def escape: gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub(">"; "&gt;") | gsub("\""; "&quot;");

def chart_style:
	".chart{--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--native:#59636e;--overlayfs:#0969da;--fuse-overlayfs:#bc4c00;--bindfs:#8250df;"
	+ "--veneer:#1a7f37;--second:#0b7a75;font:12px system-ui,sans-serif}"
	+ "@media(prefers-color-scheme:dark){.chart{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--native:#9198a1;--overlayfs:#58a6ff;"
	+ "--fuse-overlayfs:#f0883e;--bindfs:#bc8cff;--veneer:#3fb950;--second:#39c5bb}}"
	+ ".chart text{fill:var(--ink)}.chart .soft{fill:var(--soft)}.chart .grid{stroke:var(--line)}";

def color:
	{ native: "native", overlayfs: "overlayfs", "fuse-overlayfs": "fuse-overlayfs", bindfs: "bindfs", veneer: "veneer", "veneer-cached": "veneer",
	"veneer-passthrough": "second", git: "overlayfs", ostree: "fuse-overlayfs", dpkg: "bindfs" }[.] // "native" | "var(--\(.))";

# A shape as well as a colour for each.
def mark($x; $y):
	color as $color
	| if . == "native" then "<path d=\"M\($x) \($y - 7)v14\" stroke=\"\($color)\" stroke-width=\"3\"/>"
	elif . == "overlayfs" or . == "git" then "<rect x=\"\($x - 4)\" y=\"\($y - 4)\" width=\"8\" height=\"8\" fill=\"\($color)\"/>"
	elif . == "fuse-overlayfs" or . == "ostree" then "<path d=\"M\($x) \($y - 5)l5 9h-10z\" fill=\"\($color)\"/>"
	elif . == "bindfs" or . == "dpkg" then "<path d=\"M\($x) \($y + 5)l5 -9h-10z\" fill=\"\($color)\"/>"
	elif . == "veneer-passthrough" then "<path d=\"M\($x) \($y - 6)l6 6l-6 6l-6 -6z\" fill=\"\($color)\"/>"
	else "<circle cx=\"\($x)\" cy=\"\($y)\" r=\"5.5\" fill=\"\($color)\"/>" end;

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
	| 330 as $left | 900 as $right | 34 as $step | 44 as $top
	| ($top + $step * ($rows | length) + 8) as $bottom
	| def x: ((log10 - ($low | log10)) / (($high | log10) - ($low | log10)) * ($right - $left) + $left) | round1;
	([$rows[].results[].system] | unique) as $present
	| (["native", "overlayfs", "fuse-overlayfs", "bindfs", "veneer", "veneer-cached", "veneer-passthrough", "git", "ostree", "dpkg"] | map(select(. as $s | $present | index($s)))) as $systems
	| (ticks($low; $high) | if length > 9 then map(select(log10 as $l | ($l - ($l | round) | fabs) < 0.001)) else . end) as $ticks
	| "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 940 \($bottom + 40)\" role=\"img\" aria-label=\"\($title | escape)\"><style>\(chart_style)</style>"
	+ ([$systems | to_entries[] | "<g>\(.value | . as $s | mark(14 + (($systems | index($s)) * 148); 14))<text x=\"\(26 + .key * 148)\" y=\"18\">\(.value | reference_title($rows[0].group) | escape)</text></g>"] | join(""))
	+ ([$ticks[] | "<path class=\"grid\" d=\"M\(x) \($top - 6)V\($bottom)\"/><text class=\"soft\" x=\"\(x)\" y=\"\($bottom + 16)\" text-anchor=\"middle\">\(if $relative then "\(short) ×" else figure($unit) end)</text>"] | join(""))
	+ ([$rows | to_entries[] | ($top + .key * $step + 14) as $y | .value | base_of($relative) as $base | row_scale as $scale
		| "<text x=\"\($left - 14)\" y=\"\($y + 4)\" text-anchor=\"end\">\(.title | if length > 52 then .[0:51] + "…" else . end | escape)</text>"
		+ ([.results[] | (.median / $base) as $value | select($value > 0)
			| "<g><title>\(.system | system_title): \(.median | in_scale($scale)) \($scale[1]) (\(spread($scale)))</title>"
			+ "<path d=\"M\(([.minimum / $base, $low] | max) | x) \($y)H\((.maximum / $base) | x)\" stroke=\"\(.system | color)\" stroke-width=\"1.5\" opacity=\"0.6\"/>"
			+ (.system | mark($value | x; $y)) + "</g>"] | join(""))] | join(""))
	+ "<text class=\"soft\" x=\"\($right)\" y=\"\($bottom + 34)\" text-anchor=\"end\">\(if $relative then "times the bare directory, logarithmic; to the left is faster" elif $unit == "bytes" then "logarithmic; to the left is less" else "logarithmic; to the left is faster" end)</text></svg>";
