//! Arguments → settings → logging → run → exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use sluicegate::cli::{Cli, Command, Configuration};
use sluicegate::exit::{Exit, guarded, say_last};
use sluicegate::settings::{Files, Settings};
use sluicegate::{commands, gateway, manual, settings, tools};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // The reader closed its pipe: not our error.
            drop(error.print());
            return if shown { Exit::Drained } else { Exit::Settings }.into();
        }
    };
    let command = cli.command.unwrap_or(Command::Run(cli.run));
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
    let examined = |config| loaded(config, Files::Examined);
    // These use one broker of two, or report themselves which file they cannot read.
    let unseen = |config| loaded(config, Files::Unseen);
    let (exit, said) = match command {
        Command::Schema => (Exit::Drained, Some(format!("{:#}", settings::schema()))),
        Command::Run(args) => {
            let (path, settings) = examined(&args.config)?;
            // With batches on standard output, the balance goes to standard error.
            let to_stderr = settings.plan.output.sink.declared().is_standard_output();
            let (exit, balance) = gateway::run(&path, settings, args.watch_config);
            if let Some(balance) = balance {
                say_last(balance.to_string(), to_stderr);
            }
            (exit, None)
        }
        Command::Check(config) => {
            let (path, settings) = examined(&config)?;
            let path = path.display().to_string();
            let report = tools::check::report(
                &path,
                &settings.to_toml(),
                &settings.plan,
                &settings.warnings,
            );
            (Exit::Drained, Some(report))
        }
        Command::Reload(args) => {
            // A file with mistakes is for the gateway to refuse.
            let control = if args.control.is_some() {
                args.control
            } else {
                let path = settings::find(args.config.config.as_deref())?;
                settings::control(&path, std::env::vars_os())?
            };
            commands::reload(control.as_deref(), args.dry_run)?
        }
        Command::Explain(args) => commands::explain(&unseen(&args.config)?.1, &args)?,
        Command::Health(config) => commands::health(&unseen(&config)?.1),
        Command::Sensors(args) => commands::sensors(&unseen(&args.config)?.1, args)?,
        Command::Top(config) => commands::top(&unseen(&config)?.1)?,
        Command::Simulate(args) => {
            let (path, settings) = unseen(&args.config)?;
            commands::simulate(&path, &settings, args)
        }
        Command::Record(args) => commands::record(&unseen(&args.config)?.1, args),
        // Files can be judged where there is no configuration.
        Command::Verify(args)
            if !args.file.is_empty() && settings::find(args.config.config.as_deref()).is_err() =>
        {
            commands::verify(&Settings::default(), args)
        }
        Command::Verify(args) => commands::verify(&unseen(&args.config)?.1, args),
        Command::Tail(args)
            if !args.file.is_empty() && settings::find(args.config.config.as_deref()).is_err() =>
        {
            (commands::tail(&Settings::default(), args), None)
        }
        Command::Tail(args) => (commands::tail(&unseen(&args.config)?.1, args), None),
        Command::Doctor(args) => commands::doctor(&unseen(&args.config)?.1, &args)?,
        Command::Completions { shell } => (Exit::Drained, Some(manual::completions(shell))),
        Command::Man { dir } => (Exit::Drained, Some(manual::man(dir.as_deref())?)),
    };
    if let Some(said) = said {
        say(&mut std::io::stdout(), said.trim_end());
    }
    Ok(exit)
}

/// The settings for a command, and the path of their file.
fn loaded(config: &Configuration, files: Files) -> Result<(PathBuf, Settings), settings::Error> {
    let path = settings::find(config.config.as_deref())?;
    let settings = settings::load(&path, std::env::vars_os(), files)?;
    Ok((path, settings))
}

fn say(to: &mut dyn std::io::Write, text: &str) {
    // The reader closed its pipe: not our error.
    drop(writeln!(to, "{text}"));
}
