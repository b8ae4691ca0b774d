//! Arguments → settings → logging → run → exit code.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use sluicegate::cli::{Cli, Command, Doctor};
use sluicegate::exit::Exit;
use sluicegate::signals::Signals;
use sluicegate::tools::doctor::verdict::{Conclusion, Verdict};
use sluicegate::{clock, commands, gateway, settings, tools};

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
    let ended = match cli.command.unwrap_or(Command::Run(cli.config)) {
        Command::Doctor(doctor) => doctored(&doctor),
        command => prepared(command).map_err(Into::into),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("sluicegate: {error}"));
            Exit::Settings.into()
        }
    }
}

/// Audits the brokers; a signal ends it, cleanly.
fn doctored(doctor: &Doctor) -> Result<Exit, Box<dyn std::error::Error>> {
    let path = settings::find(doctor.config.config.as_deref())?;
    let settings = settings::load(&path, std::env::vars_os())?;
    let stop = async {
        match Signals::listen() {
            Ok(signals) => signals.first().await,
            // Then a signal ends the program at once, as it does any other.
            Err(_) => std::future::pending().await,
        }
    };
    let seed = clock::now().wall.millis();
    let report = tools::doctor::run(&settings.plan, &doctor.probe(), seed, stop)?;
    let text = if doctor.json { report.to_json().to_string() } else { report.to_string() };
    say(&mut std::io::stdout(), &text);
    Ok(match report.conclusion() {
        Conclusion::Judged(Verdict::Fit) => Exit::Drained,
        Conclusion::Judged(Verdict::Risky) => Exit::Faults,
        Conclusion::Judged(Verdict::Unfit) => Exit::Unfit,
        Conclusion::Refused => Exit::Settings,
        Conclusion::Open => Exit::Unsettled,
    })
}

fn prepared(command: Command) -> Result<Exit, settings::Error> {
    let path = settings::find(command.config().config.as_deref())?;
    let settings = settings::load(&path, std::env::vars_os())?;
    let (exit, said) = match command {
        Command::Run(_) => {
            let (exit, balance) = gateway::run(&path, settings);
            (exit, balance.map(|balance| balance.to_string()))
        }
        Command::Check(_) => {
            let path = path.display().to_string();
            let report = tools::check::report(&path, &settings.to_toml(), &settings.plan);
            (Exit::Drained, Some(report))
        }
        Command::Simulate(args) => commands::simulate(&path, &settings, args),
        Command::Verify(args) => commands::verify(&settings, args),
        Command::Doctor(_) => return Ok(Exit::Internal),
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
