# The samples of a run, as rows of text, to one JSON document.

def lines: split("\n") | map(select(. != "") | split("\t"));

def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# Median, extremes, and the median distance from the median.
def statistics:
	median as $median
	| { median: $median, minimum: min, maximum: max, deviation: (map(. - $median | fabs) | median), samples: . };

# One measurement's counters before and after to what was asked in between; kinds that were not asked are left out.
def request_difference($before; $after):
	[$after | to_entries[] | .value -= ($before[.key] // 0) | select(.value != 0)]
	| { total: (map(.value) | add // 0), kinds: from_entries };

def system_order: ["native", "overlayfs", "fuse-overlayfs", "bindfs", "veneer", "veneer-cached", "veneer-passthrough", "git", "ostree", "dpkg"];

($machine | lines) as $facts
| ($samples | lines | map({ row: .[0], system: .[1], value: (.[2] | tonumber) })) as $samples
| ([$requests | _nwise(6) | select(length == 6) | { row: .[0], system: .[1], requests: request_difference(.[2][0].requests // {}; .[5][0].requests // {}) }]) as $requests
| ($skips | lines | map({ row: .[0], system: .[1], reason: .[2] }) | unique) as $skips
| ($defaults | lines | map({ (.[0]): .[1] }) | add // {}) as $defaults
| def results($row):
	[system_order[] as $system
	| [$samples[] | select(.row == $row and .system == $system) | .value] | select(. != [])
	| { system: $system } + statistics
	+ ([$requests[] | select(.row == $row and .system == $system) | .requests]
		| if . == [] then {} else { requests: (sort_by(.total) | .[(length - 1) / 2 | floor] + { maximum: .[-1].total }) } end)];
def default_of($row; $group):
	$defaults[$row] // $defaults[{ growth: "switch" }[$group] // $group];
[$rows | lines[]
	| { name: .[0], group: .[1], unit: .[2], references: (.[3] | split(",")), title: .[4] }
	| .default = default_of(.name; .group)
	| .name as $name | .results = results($name)
	| .skipped = [$skips[] | select(.row == $name) | { system, reason }]
	| select(.results != [] or .skipped != [])] as $measured
| def median_of($row; $system):
	[$measured[] | select(.name == $row) | .results[] | select(.system == $system)] | .[0];
def judged:
	. as $target
	| ([$measured[] | select(.name == $target.row)] | .[0]) as $row
	| if $row == null then empty else . end
	| (if .system == "default" then $row.default else .system end) as $system
	| median_of(.row; $system) as $own
	| .system_judged = $system
	| .value = (
		if $own == null then null
		elif has("requests") then $own.requests.total
		elif has("against") then (median_of(.row; .against) | if . == null then null else $own.median / .median end)
		elif has("against_row") then (median_of(.against_row; $system) | if . == null then null else $own.median / .median end)
		else $own.median end)
	| .verdict = (if .value == null then "not measured" elif .value <= (.limit // .requests) then "reached" else "MISSED" end);
{
	machine: ($facts | map(select(.[0] != "load" and .[0] != "mode" and .[0] != "rounds" and .[0] != "started") | { (.[0]): .[1] }) | add),
	started: ([$facts[] | select(.[0] == "started") | .[1]] | .[0]),
	mode: ([$facts[] | select(.[0] == "mode") | .[1]] | .[0]),
	rounds: ([$facts[] | select(.[0] == "rounds") | .[1] | tonumber] | .[0]),
	load: [$facts[] | select(.[0] == "load") | .[1]],
	rows: $measured
}
| .mode as $mode
| .targets = [$targets[0][] | select($mode == "full" or (.full | not)) | judged]
