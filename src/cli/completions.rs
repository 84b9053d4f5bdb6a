//! `completions` and `man`: made from the command definitions.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Cx, help};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut help::command(), "hallmark", &mut script);
        cx.out.data(&script)
    }
}

/// Write the manual pages
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Directory for one page per command; without it the page of `hallmark` itself goes to stdout
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut command = help::command();
        command.build();
        match self.dir {
            None => cx.out.data(&page(&command, "hallmark")?),
            Some(dir) => {
                let failed = |error: std::io::Error| {
                    CliError::failed(format!("cannot write {}", dir.display()), error)
                };
                std::fs::create_dir_all(&dir).map_err(failed)?;
                let mut pages = Vec::new();
                collect(&command, "hallmark", &mut pages)?;
                for (name, text) in &pages {
                    std::fs::write(dir.join(format!("{name}.1")), text).map_err(failed)?;
                }
                cx.out
                    .note(&format!("wrote {} pages to {}", pages.len(), dir.display()));
                Ok(())
            }
        }
    }
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), CliError> {
    pages.push((name.to_owned(), page(command, name)?));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .render(&mut text)
        .map_err(|error| CliError::failed("cannot make the manual page", error))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Format, Output};

    #[test]
    fn every_shell_gets_a_script() {
        use clap::ValueEnum as _;
        for shell in clap_complete::Shell::value_variants() {
            let (out, text, _) = Output::captured(Format::Table);
            Completions { shell: *shell }.run(&Cx { out }).unwrap();
            assert!(text.text().contains("whoami"), "{shell}");
        }
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        let (out, _, _) = Output::captured(Format::Table);
        Man {
            dir: Some(dir.path().to_owned()),
        }
        .run(&Cx { out })
        .unwrap();
        let page = std::fs::read_to_string(dir.path().join("hallmark-account-create.1")).unwrap();
        assert!(page.contains("EMAIL"), "{page}");
    }
}
