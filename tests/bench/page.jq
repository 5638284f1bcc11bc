# A page with charts and tables that needs nothing else.
include "figures";
include "svg";

def page_style:
	"body{max-width:1000px;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:#1f2328;background:#fff}"
	+ "table{border-collapse:collapse;width:100%;font-size:13px;margin:.5rem 0 1.5rem}th,td{padding:.25rem .6rem;border-bottom:1px solid #d1d9e0;text-align:right}"
	+ "th:first-child,td:first-child,td.text,th.text{text-align:left}caption{text-align:left;font-weight:600;padding:.4rem 0}svg{width:100%;height:auto}"
	+ ".wide{overflow-x:auto}.MISSED{color:#cf222e;font-weight:600}.reached{color:#1a7f37}tr.own td{font-weight:600}"
	+ "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#3d444d}.MISSED{color:#ff7b72}.reached{color:#3fb950}}";

def row_table:
	row_scale as $scale | . as $row
	| "<div class=\"wide\"><table><caption>\(.title | escape)</caption><tr><th>system</th><th>median, \($scale[1])</th><th>spread</th>"
	+ ([.references[] | select(. != "") | "<th>× \(. | escape)</th>"] | join(""))
	+ (if any(.results[]; .requests) then "<th class=\"text\">requests</th>" else "" end) + "</tr>"
	+ ([.results[] | . as $result
		| "<tr\(if .system | startswith("veneer") then " class=\"own\"" else "" end)><td>\(.system | reference_title($row.group))</td><td>\(.median | in_scale($scale))</td><td>\(spread($scale))</td>"
		+ ([$row.references[] | select(. != "") as $reference | $row | ratio($result.system; $reference) | "<td>\(if . == null then "" else digits end)</td>"] | join(""))
		+ (if any($row.results[]; .requests) then "<td class=\"text\">\(.requests | requests_text)</td>" else "" end) + "</tr>"] | join(""))
	+ ([.skipped[] | "<tr><td>\(.system)</td><td class=\"text\" colspan=\"5\">not measured: \(.reason | escape)</td></tr>"] | join(""))
	+ "</table></div>";

# Why a target is missed, and what was tried: notes.json has sentences for ROW, and for ROW/requests.
def note: $notes[0][.row + (if has("requests") then "/requests" else "" end)];

def target_row($rows):
	unit_of($rows; .row) as $unit
	| "<tr><td>\(title_of($rows; .row) | escape)</td><td class=\"text\">\(.system_judged // .system)</td><td>\(target_limit($unit) | escape)</td><td>\(target_value($unit))</td><td class=\"text \(.verdict)\">\(.verdict)"
	+ (if .verdict == "MISSED" and note then "<br>\(note | escape)" else "" end) + "</td></tr>";

def machine_text:
	"\(.machine.processors) processors (\(.machine.processor)\(if .machine.hypervisor == "yes" then ", a virtual machine" else "" end)), \(.machine.memory_mib) MiB of memory, \(.machine.filesystem), "
	+ "\(.machine.kernel), \(.machine.distribution); page cache: \(.machine.reclaim); load at the start \(.load[0]), at the end \(.load[1] // "unknown").";

. as $run
| "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">"
+ "<title>veneer: benchmark</title><style>\(page_style)</style><h1>veneer: benchmark</h1>"
+ "<p>\(.started), a \(.mode) run: \(if .mode == "quick" then "up to " else "" end)\(.rounds) rounds, all systems in turn within each round; medians, with the smallest and the largest sample. \(machine_text | escape)</p>"
+ "<h2>Targets</h2><div class=\"wide\"><table><tr><th>row</th><th class=\"text\">system</th><th>target</th><th>measured</th><th class=\"text\">verdict</th></tr>"
+ ([.targets[] | target_row($run.rows)] | join("")) + "</table></div>"
+ ([groups[] as $group | [$run.rows[] | select(.group == $group)] as $rows
	| "<h2>\($group | group_title)</h2>"
	+ ([$rows | group_by(.unit) | reverse[] | select(any(.[]; .results != [])) | chart($group | group_title)] | join(""))
	+ ([$rows[] | row_table] | join(""))] | join(""))
+ "</html>"
