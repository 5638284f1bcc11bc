# docs/benchmarks.md, from the figures of a run.
include "figures";

def cell: if . == null then "" else tostring | gsub("\\|"; "\\|") end;

def group_table($rows):
	([$rows[].results[].system] | unique) as $present
	| (["native", "overlayfs", "fuse-overlayfs", "bindfs", "veneer", "veneer-cached", "veneer-passthrough", "git", "ostree", "dpkg"]
		| map(select(. as $s | $present | index($s)))) as $systems
	| $rows[0].group as $group
	| "| |\([$systems[] | " \(reference_title($group)) |"] | join(""))",
	"|---|\([$systems[] | "---:|"] | join(""))",
	($rows[] | . as $row | row_scale as $scale
		| "| \(.title), \($scale[1]) |\([$systems[] as $system | ([$row.results[] | select(.system == $system)] | .[0])
			| if . == null then " – |" else " \(.median | in_scale($scale)) (\(spread($scale))) |" end] | join(""))");

def ratio_table($rows):
	[$rows[] | . as $row | .results[] | select(.system | startswith("veneer")) | . as $own
		| [$row.references[] as $reference | $row | ratio($own.system; $reference) | select(. != null)
			| "\(digits) × \($reference | reference_title($row.group))"] as $ratios
		| select($ratios != [] or .requests)
		| "| \($row.title) | \(.system | system_title) | \($ratios | join(", ")) | \(.requests | requests_text | cell) |"] as $lines
	| if $lines == [] then empty else "", "| row | | ratio | requests |", "|---|---|---|---|", $lines[] end;

# Why a target is missed, and what was tried: notes.json has sentences for ROW, and for ROW/requests.
def note: $notes[0][.row + (if has("requests") then "/requests" else "" end)];

def verdict_text: if .verdict == "MISSED" then "**missed**" + (if note then ": \(note)" else "" end) else .verdict end;

. as $run
| "# Benchmarks",
"",
"Made by `scripts/bench` from the figures of one run ([JSON](benchmarks/figures.json), [page with charts](benchmarks/page.html));",
"do not edit, run it again. Ratios within a run say something; figures of different runs and machines do not compare.",
"",
"| | |", "|---|---|",
"| run | \(.started), \(.mode), \(if .mode == "quick" then "up to " else "" end)\(.rounds) rounds, the systems in turn within each round |",
"| machine | \(.machine.processors) processors, \(.machine.processor)\(if .machine.hypervisor == "yes" then " (a virtual machine)" else "" end), \(.machine.memory_mib) MiB |",
"| system | \(.machine.kernel), \(.machine.distribution), \(.machine.filesystem) |",
"| page cache | \(.machine.reclaim) |",
"| load average | \(.load[0]) at the start, \(.load[1] // "unknown") at the end |",
"| versions | \(.machine.veneer) at \(.machine.commit); fuse-overlayfs \(.machine["fuse-overlayfs"]), bindfs \(.machine.bindfs), ostree \(.machine.ostree), git \(.machine.git), dpkg \(.machine.dpkg), libfuse \(.machine["libfuse3-3"]) |",
"",
"Each cell is the median, with the smallest and the largest sample in brackets. overlayfs and fuse-overlayfs have as their upper layer the same files that veneer",
"has as an applied patch. Warm: everything was read before, and once more just before each sample. Cold: the daemon is fresh, and the kernel's caches were dropped; the disk's and the host's are not ours to drop.",
"Memory is each daemon's proportional share (PSS).",
"",
"## Targets",
"",
"| row | system | target | measured | |", "|---|---|---:|---:|---|",
(.targets[] | unit_of($run.rows; .row) as $unit
	| "| \(title_of($run.rows; .row)) | \(.system_judged // .system) | \(target_limit($unit)) | \(target_value($unit)) | \(verdict_text) |"),
(groups[] as $group | [$run.rows[] | select(.group == $group)] as $rows
	| "", "## \($group | group_title)", "",
	(if any($rows[]; .results != []) then "![\($group | group_title)](benchmarks/\($group).svg)", "" else empty end),
	group_table($rows), ratio_table($rows),
	([$rows[].skipped[] | "\(.system): \(.reason)"] | unique | if . == [] then empty else "", "Not measured: \(join("; "))." end))
