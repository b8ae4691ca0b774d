//! Arguments → settings → logging → run → exit code.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use sluicegate::cli::{Cli, Command};
use sluicegate::exit::{Exit, guarded, say_last};
use sluicegate::settings::Files;
use sluicegate::{commands, gateway, settings, tools};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is the reader's decision.
            drop(error.print());
            return if shown { Exit::Drained } else { Exit::Settings }.into();
        }
    };
    let command = cli.command.unwrap_or(Command::Run(cli.config));
    let (exit, error) = guarded(
        || match prepared(command) {
            Ok(exit) => (exit, None),
            Err(error) => (Exit::Settings, Some(error)),
        },
        || None,
    );
    if let Some(error) = error {
        say(&mut std::io::stderr(), &format!("sluicegate: {error}"));
    }
    exit.into()
}

fn prepared(command: Command) -> Result<Exit, Box<dyn std::error::Error>> {
    let path = settings::find(command.config().config.as_deref())?;
    let files = match command {
        Command::Run(_) | Command::Check(_) => Files::Examined,
        // These use one broker of two, or say themselves what they cannot do.
        Command::Simulate(_) | Command::Verify(_) | Command::Doctor(_) | Command::Health(_) => {
            Files::Unseen
        }
    };
    let settings = settings::load(&path, std::env::vars_os(), files)?;
    let (exit, said) = match command {
        Command::Run(_) => {
            // Where batches go to standard output, it is the consumer's.
            let to_stderr = settings.plan.output.is_standard_output();
            let (exit, balance) = gateway::run(&path, settings);
            if let Some(balance) = balance {
                say_last(balance.to_string(), to_stderr);
            }
            (exit, None)
        }
        Command::Check(_) => {
            let path = path.display().to_string();
            let report = tools::check::report(
                &path,
                &settings.to_toml(),
                &settings.plan,
                &settings.misspelt,
            );
            (Exit::Drained, Some(report))
        }
        Command::Health(_) => commands::health(&settings),
        Command::Simulate(args) => commands::simulate(&path, &settings, args),
        Command::Verify(args) => commands::verify(&settings, args),
        Command::Doctor(args) => commands::doctor(&settings, &args)?,
    };
    if let Some(said) = said {
        say(&mut std::io::stdout(), said.trim_end());
    }
    Ok(exit)
}

fn say(to: &mut dyn std::io::Write, text: &str) {
    // A closed pipe is the reader's decision.
    drop(writeln!(to, "{text}"));
}
