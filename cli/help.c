/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

#define SYNTAX_WIDTH 32 /* of the left column of options */
#define NAME_WIDTH 10	/* of the left column of commands */

void help_overview(struct strbuf *sb)
{
	strbuf_addstr(sb, "usage: veneer COMMAND [ARGUMENT]... [OPTION]...\n\n"
			  "Lay small patches over the directories of a running system, and take them off again.\n\n"
			  "commands:\n");
	for (const struct command *command = commands; command->name; command++)
		strbuf_addf(sb, "  %-*s%s\n", NAME_WIDTH, command->name, command->summary);
	strbuf_addstr(sb, "\n'veneer help COMMAND' explains one. veneer(8) tells it all.\n");
}

static void add_options(struct strbuf *sb, const struct option_spec *spec)
{
	for (; spec->name; spec++) {
		cleanup_strbuf struct strbuf syntax = STRBUF_INIT;

		if (spec->letter)
			strbuf_addf(&syntax, "-%c, ", spec->letter);
		strbuf_addf(&syntax, "--%s", spec->name);
		if (spec->argument)
			strbuf_addf(&syntax, " %s", spec->argument);
		if (spec->flags & (OPTION_REPEATS | OPTION_MANY))
			strbuf_addstr(&syntax, "...");
		if (text_width(strbuf_text(&syntax)) >= SYNTAX_WIDTH)
			strbuf_addf(sb, "  %s\n  %*s%s\n", strbuf_text(&syntax), SYNTAX_WIDTH, "", spec->help);
		else
			strbuf_addf(sb, "  %-*s%s\n", SYNTAX_WIDTH, strbuf_text(&syntax), spec->help);
	}
}

void help_command(struct strbuf *sb, const struct command *command)
{
	strbuf_addf(sb, "usage: veneer %s%s%s\n\n%s\n", command->name, *command->usage ? " " : "",
		command->usage, command->summary);
	if (command->details)
		strbuf_addf(sb, "%s\n", command->details);
	if (command->options->name) {
		strbuf_addstr(sb, "\noptions:\n");
		add_options(sb, command->options);
	}
	strbuf_addstr(sb, "\noptions of every command:\n");
	add_options(sb, global_options);
}

static struct json_object *option_rows(const struct option_spec *spec)
{
	struct json_object *rows = json_object_new_array();

	for (; spec->name; spec++) {
		struct json_object *row = json_object_new_object();
		char letter[] = { spec->letter, '\0' };

		row_text(row, "name", spec->name);
		row_text(row, "letter", spec->letter ? letter : NULL);
		row_text(row, "argument", spec->argument);
		row_text(row, "help", spec->help);
		row_flag(row, "repeatable", spec->flags & (OPTION_REPEATS | OPTION_MANY));
		json_object_array_add(rows, row);
	}
	return rows;
}

struct json_object *help_rows(void)
{
	struct json_object *rows = json_object_new_array();

	for (const struct command *command = commands; command->name; command++) {
		struct json_object *row = json_object_new_object();

		row_text(row, "name", command->name);
		row_text(row, "usage", command->usage);
		row_text(row, "summary", command->summary);
		row_object(row, "options", option_rows(command->options));
		json_object_array_add(rows, row);
	}
	return rows;
}

/* "--store --json …" */
static void add_words(struct strbuf *sb, const struct option_spec *spec)
{
	for (; spec->name; spec++) {
		strbuf_addf(sb, " --%s", spec->name);
		if (spec->letter)
			strbuf_addf(sb, " -%c", spec->letter);
	}
}

/* Cases for options that take a value: choices, or files and directories. */
static void add_values(struct strbuf *sb, const struct option_spec *spec)
{
	for (; spec->name; spec++) {
		if (!spec->argument)
			continue;
		if (spec->flags & OPTION_CHOICE) {
			strbuf_addf(sb, "\t--%s) mapfile -t COMPREPLY < <(compgen -W '", spec->name);
			for (const char *at = spec->argument; *at; at++)
				strbuf_addch(sb, *at == '|' ? ' ' : *at);
			strbuf_addstr(sb, "' -- \"$word\"); return ;;\n");
		} else if (strcmp(spec->argument, "DIR") == 0 || strcmp(spec->argument, "R") == 0) {
			strbuf_addf(sb, "\t--%s) mapfile -t COMPREPLY < <(compgen -d -- \"$word\"); return ;;\n", spec->name);
		} else if (strcmp(spec->argument, "FILE") == 0) {
			strbuf_addf(sb, "\t--%s) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n", spec->name);
		}
	}
}

static void add_tables(struct strbuf *sb)
{
	const char *gap = "";

	strbuf_addstr(sb, "_veneer_commands='");
	for (const struct command *command = commands; command->name; command++, gap = " ")
		strbuf_addf(sb, "%s%s", gap, command->name);
	strbuf_addstr(sb, "'\n\n_veneer_options()\n{\n\tcase $1 in\n");
	for (const struct command *command = commands; command->name; command++) {
		strbuf_addf(sb, "\t%s) echo '", command->name);
		add_words(sb, command->options);
		strbuf_addstr(sb, "' ;;\n");
	}
	strbuf_addstr(sb, "\tesac\n\techo '");
	add_words(sb, global_options);
	strbuf_addstr(sb, "'\n}\n\n");
}

void help_completion(struct strbuf *sb)
{
	strbuf_addstr(sb, "# bash completion for veneer(8). Made by 'veneer help --completion'; not edited by hand.\n\n");
	add_tables(sb);
	strbuf_addstr(sb,
		"# The values of a key of 'veneer status --json': names and labels.\n"
		"_veneer_ask()\n{\n"
		"\tveneer \"${store[@]}\" status \"${@:2}\" --json 2>/dev/null |\n"
		"\t\tsed -n 's/^ *\"'\"$1\"'\": *\"\\(.*\\)\",\\{0,1\\}$/\\1/p'\n}\n\n"
		"_veneer()\n{\n"
		"\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
		"\tlocal command='' name='' rest='' store=() i\n\n"
		"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		"\t\tcase ${COMP_WORDS[i]} in\n"
		"\t\t--store) store=(--store \"${COMP_WORDS[++i]}\") ;;\n"
		"\t\t--) rest=$i; break ;;\n"
		"\t\t-*) ;;\n"
		"\t\t*) if [[ -z $command ]]; then command=${COMP_WORDS[i]}\n"
		"\t\t\telif [[ -z $name ]]; then name=${COMP_WORDS[i]}; fi ;;\n"
		"\t\tesac\n"
		"\tdone\n"
		"\tcase $before in\n");
	add_values(sb, global_options);
	for (const struct command *command = commands; command->name; command++)
		add_values(sb, command->options);
	strbuf_addstr(sb,
		"\tesac\n"
		"\tif [[ $command == record && -n $rest && $COMP_CWORD -eq $((rest + 1)) ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -c -- \"$word\")\n"
		"\telif [[ -n $rest ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
		"\telif [[ $word == -* ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W \"$(_veneer_options \"$command\")\" -- \"$word\")\n"
		"\telif [[ -z $command ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W \"$_veneer_commands\" -- \"$word\")\n"
		"\telif [[ $command == help ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W \"$_veneer_commands\" -- \"$word\")\n"
		"\telif [[ -z $name && $command != add ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W \"$(_veneer_ask name)\" -- \"$word\")\n"
		"\telif [[ $command == @(apply|revert|show) ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W \"$(_veneer_ask label \"$name\")\" -- \"$word\")\n"
		"\telif [[ $command == @(switch|diff) ]]; then\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -W \"base active $(_veneer_ask label \"$name\")\" -- \"$word\")\n"
		"\telse\n"
		"\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
		"\tfi\n"
		"}\n"
		"complete -o filenames -F _veneer veneer\n");
}
