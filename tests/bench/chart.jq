# One group's chart as a file of its own: --arg group NAME. A group of times and sizes gives the chart of what it has first.
include "figures";
include "svg";

[.rows[] | select(.group == $group)] as $rows | [$rows[] | select(.unit == $rows[0].unit)] | chart($group | group_title)
