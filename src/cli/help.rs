//! `hallmark --help`: the commands in groups. Built from the definitions, so it cannot disagree with them.

use std::fmt::Write as _;

use clap::CommandFactory as _;

use super::{Cli, GROUPS};

const HEADING: &str = "\x1b[1m\x1b[4m";
const NAME: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

const AFTER: &str = "\
Commands that work on a server read the log-in made by `hallmark login`, or HALLMARK_SERVER and HALLMARK_TOKEN.
Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 server not reachable.";

/// The whole command definition, with grouped help.
pub(super) fn command() -> clap::Command {
    let command = Cli::command().after_help(AFTER);
    let template = template(&command);
    command.help_template(template)
}

fn template(command: &clap::Command) -> String {
    let width = command
        .get_subcommands()
        .map(|sub| sub.get_name().len())
        .max()
        .unwrap_or(0);
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (group, names) in GROUPS {
        let _infallible = writeln!(text, "\n{HEADING}{group}:{RESET}");
        for name in *names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _infallible = writeln!(text, "  {NAME}{name:width$}{RESET}  {about}");
        }
    }
    let _infallible = write!(text, "\n{HEADING}Options:{RESET}\n{{options}}{{after-help}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_stands_in_exactly_one_group() {
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        grouped.sort_unstable();
        let command = Cli::command();
        let mut defined: Vec<&str> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        defined.sort_unstable();
        assert_eq!(grouped, defined);
    }

    #[test]
    fn everything_has_a_description() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "command {}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&command());
    }
}
