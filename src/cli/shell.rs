//! `taskhub completions` and `taskhub man`: what a shell and `man` know of the command.

use std::io::{self, Write as _};

use clap::{Args, Command};
use clap_complete::Shell;

use super::failure::Outcome;

/// For which shell.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell; load what is printed, such as by source <(taskhub completions bash)
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "taskhub", &mut script);
        print(&script)
    }
}

/// Prints the man page, of the command and of each of its commands.
pub(crate) fn man(command: Command) -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let mut command = command;
    command.build();
    page.extend(b".SH COMMANDS IN FULL\n");
    sections(&command, &mut page)?;
    print(&page)
}

/// The sections of all commands below this one.
fn sections(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let name = below.get_bin_name().unwrap_or(below.get_name()).to_owned();
        writeln!(page, ".SS {name}")?;
        let man = clap_mangen::Man::new(below.clone());
        man.render_description_section(page)?;
        man.render_synopsis_section(page)?;
        man.render_options_section(page)?;
        sections(below, page)?;
    }
    Ok(())
}

fn print(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
