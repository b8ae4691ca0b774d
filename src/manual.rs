//! Completions for shells, and man pages. Both are made of the definition of the command line (`cli`): what `--help`
//! says, they say, and nothing is kept beside it that could be older.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::Cli;

/// Begins the part of a help text that is a section of its own in a man page.
const EXIT_CODES: &str = "Exit codes:\n";

/// What makes `shell` complete the commands and options.
pub fn completions(shell: Shell) -> String {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut command, name, &mut script);
    text(script)
}

/// The program's page; or, with a folder, what was written there.
pub fn man(folder: Option<&Path>) -> Result<String, String> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = folder else { return Ok(page(&program).1) };
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let pages: Vec<_> = program.get_subcommands().chain([&program]).map(page).collect();
    for (name, text) in &pages {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(format!("{} pages are in {}", pages.len(), folder.display()))
}

/// The name of a command's page, and its text.
fn page(command: &Command) -> (String, String) {
    let man = Man::new(command.clone().mut_args(with_aliases));
    let mut page = Vec::new();
    let mut written = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page));
    if command.has_subcommands() {
        written = written.and_then(|()| man.render_subcommands_section(&mut page));
    }
    written
        .and_then(|()| after(command).to_writer(&mut page))
        .expect("memory takes what is written");
    (man.get_filename(), text(page))
}

/// With its other names in its text: a help text shows them by itself, a page does not.
fn with_aliases(option: Arg) -> Arg {
    let aliases = option.get_visible_aliases().unwrap_or_default();
    let Some((help, first)) = option.get_help().zip(aliases.first()) else { return option };
    let told = format!("{help} [alias: --{first}]");
    option.help(told)
}

/// What stands after the options of a help text, line by line as there: it has tables and commands.
fn after(command: &Command) -> Roff {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, codes) = text.split_once(EXIT_CODES).unwrap_or((&text, ""));
    let mut roff = Roff::new();
    for (heading, lines) in [("NOTES", notes), ("EXIT STATUS", codes)] {
        if lines.is_empty() {
            continue;
        }
        roff.control("SH", [heading]).control("nf", []);
        for line in lines.trim_end().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    if let Some((program, _)) = command.get_bin_name().and_then(|name| name.split_once(' ')) {
        roff.control("SH", ["SEE ALSO"]).text([roman(format!("{program}(1)"))]);
    }
    roff
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("what is made of texts is text")
}
