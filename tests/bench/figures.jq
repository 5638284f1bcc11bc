# How figures are written: shared by the table, the document and the page.

def digits: # three significant digits, and no more than the figure deserves
	if . == 0 then "0"
	elif . >= 99.5 then (. + 0.5 | floor | tostring)
	elif . >= 9.95 then (. * 10 + 0.5 | floor / 10 | tostring)
	else (. * 100 + 0.5 | floor / 100 | tostring) end;

def duration_unit: if . >= 1e9 then [1e9, "s"] elif . >= 1e6 then [1e6, "ms"] elif . >= 1e3 then [1e3, "µs"] else [1, "ns"] end;
def size_unit: if . >= 1048576 then [1048576, "MiB"] elif . >= 1024 then [1024, "KiB"] else [1, "B"] end;

# One unit for a row, that of its smallest figure, so that its figures can be compared at sight.
def row_scale: .unit as $unit | [.results[].median] | min // 0 | if $unit == "bytes" then size_unit else duration_unit end;

def in_scale($scale): . / $scale[0] | digits;
def figure($unit): (if $unit == "bytes" then size_unit else duration_unit end) as $scale | "\(in_scale($scale)) \($scale[1])";

def system_title:
	{ native: "native", overlayfs: "overlayfs", "fuse-overlayfs": "fuse-overlayfs", bindfs: "bindfs", "veneer-cached": "veneer, cached",
	"veneer-passthrough": "veneer, passthrough", veneer: "veneer", git: "git", ostree: "ostree", dpkg: "dpkg" }[.] // .;

def reference_title($group):
	if $group == "switch" or $group == "growth" then { git: "git checkout", ostree: "ostree checkout -H", dpkg: "dpkg -i" }[.] // system_title
	elif $group == "store" then { git: "git add, commit", ostree: "ostree commit" }[.] // system_title
	else system_title end;

def group_title:
	{ small: "Small files, warm", cold: "Small files, cold", large: "One large file", programs: "Start of real programs", write: "Writes through the mount",
	mount: "Mounting", memory: "Memory of the daemon", switch: "The switch", growth: "The switch in small and large bases", store: "Full snapshot" }[.] // .;

# Of the row that is the input: the median's ratio to REFERENCE's, or null.
def ratio($system; $reference):
	([.results[] | select(.system == $system)] | .[0].median) as $own
	| ([.results[] | select(.system == $reference)] | .[0].median) as $other
	| if $own == null or $other == null or $other == 0 or $system == $reference then null else $own / $other end;

def spread($scale): "\(.minimum | in_scale($scale))–\(.maximum | in_scale($scale))";

def requests_text: if . == null then "" elif .total == 0 then "0"
	else "\(.total) (\(.kinds | to_entries | sort_by(-.value) | map("\(.key) \(.value)") | join(", ")))" end;

def target_limit($unit):
	if has("requests") then "\(.requests) requests"
	elif has("against") then "≤ \(.limit) × \(.against)"
	elif has("against_row") then "≤ \(.limit) × \(.against_row)"
	else "≤ \(.limit | figure($unit))" end;

def target_value($unit):
	if .value == null then "–" elif has("requests") then "\(.value) requests"
	elif has("against") or has("against_row") then "\(.value | digits) ×" else .value | figure($unit) end;

def unit_of($rows; $row): [$rows[] | select(.name == $row) | .unit] | .[0] // "ns";
def title_of($rows; $row): [$rows[] | select(.name == $row) | .title] | .[0] // $row;

def groups: reduce .rows[] as $row ([]; if index($row.group) then . else . + [$row.group] end);
