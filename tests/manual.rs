//! `sluicegate completions` and `sluicegate man`: shells complete what there is, and the pages say what `--help` says.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The shells for which there are completions.
const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn sluicegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluicegate")).args(arguments).output().unwrap()
}

/// What it prints of these arguments.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = sluicegate(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = help("");
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let commands: Vec<_> = names.filter(|it| *it != "help").map(str::to_owned).collect();
    assert!(commands.len() > 10, "{help}");
    commands
}

/// What `--help` says of a command, or of the program for "".
fn help(command: &str) -> String {
    let command = (!command.is_empty()).then_some(command);
    printed(&command.into_iter().chain(["--help"]).collect::<Vec<_>>())
}

/// The options that a help lists.
fn options(help: &str) -> Vec<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = lines.map(|line| line.split("  ").next().unwrap_or_default());
    let words = names.flat_map(|names| names.split([' ', ',']));
    words.filter(|word| word.starts_with('-')).map(str::to_owned).collect()
}

/// The other names of options that a help lists.
fn aliases(help: &str) -> Vec<String> {
    let names = help.split("[alias: ").skip(1).filter_map(|rest| rest.split(']').next());
    names.map(str::to_owned).collect()
}

/// What bash completes where these words stand before the cursor.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    // What bash does when the key is pressed: the function that is registered for the command, and its answer.
    let asked = r#"
        source "$0"
        registered=$(complete -p "$1") || exit
        [[ $registered =~ -F\ ([^ ]+) ]] || exit
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "${BASH_REMATCH[1]}" "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", asked])
        .arg(script)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("bash ({error}) is needed: apt-get install bash"));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_each_command_and_each_option() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("sluicegate");
    std::fs::write(&script, printed(&["completions", "bash"])).unwrap();
    let offered = completed(&script, &["sluicegate", ""]);
    let missing: Vec<_> = commands().into_iter().filter(|it| !offered.contains(it)).collect();
    assert!(missing.is_empty(), "{missing:?} of {offered:?}");
    assert_eq!(completed(&script, &["sluicegate", "sen"]), ["sensors"]);
    for command in commands() {
        let mut offered = completed(&script, &["sluicegate", &command, "--"]);
        let help = help(&command);
        let options = options(&help).into_iter().chain(aliases(&help));
        let mut expected: Vec<_> = options.filter(|option| option.starts_with("--")).collect();
        offered.sort();
        expected.sort();
        assert_eq!(offered, expected, "{command}");
    }
    assert!(completed(&script, &["sluicegate", "sensors", "--"]).contains(&"--silent".to_owned()));
}

#[test]
fn the_script_of_each_shell_names_each_command() {
    for shell in SHELLS {
        let script = printed(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
    let output = sluicegate(&["completions", "sh"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(SHELLS.iter().all(|shell| said.contains(shell)), "{said}");
}

/// What groff has to say about a page.
fn complaints(page: &str) -> String {
    let mut command = Command::new("groff");
    command.args(["-k", "-K", "utf-8", "-T", "utf8", "-man", "-ww", "-z"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut groff = command
        .spawn()
        .unwrap_or_else(|error| panic!("groff ({error}) is needed: apt-get install groff-base"));
    groff.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = groff.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn each_command_has_a_page_with_all_that_its_help_lists() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    printed(&["man", "--dir", pages.to_str().unwrap()]);
    let commands = commands();
    let named = commands.iter().map(|it| (it.as_str(), format!("sluicegate-{it}.1")));
    for (command, name) in named.chain([("", "sluicegate.1".to_owned())]) {
        let page = std::fs::read_to_string(pages.join(&name)).expect(&name);
        assert_eq!(complaints(&page), "", "{name}");
        let text = page.replace("\\-", "-");
        let help = help(command);
        for option in options(&help) {
            assert!(text.contains(&format!("\\fB{option}\\fR")), "{name}: {option}");
        }
        for alias in aliases(&help) {
            assert!(text.contains(&alias), "{name}: {alias}");
        }
        let codes = help.split_once("Exit codes:\n").map_or("", |(_, codes)| codes);
        for line in codes.lines() {
            assert!(text.contains(&line.replace('\'', "\\*(Aq")), "{name}: {line}");
        }
    }
    let first = printed(&["man"]);
    assert_eq!(
        first.trim_end(),
        std::fs::read_to_string(pages.join("sluicegate.1")).unwrap().trim_end()
    );
    for command in &commands {
        assert!(first.contains(&format!("sluicegate\\-{command}(1)")), "{command}");
    }
}

#[test]
fn the_test_of_pages_sees_what_is_wrong_with_one() {
    let wrong = ".TH a 1\n.SH NAME\na \\- b\n.none of these\n";
    assert!(complaints(wrong).contains("none"), "{}", complaints(wrong));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let output = sluicegate(&["man", "--dir", "/proc/none"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("sluicegate: /proc/none: "), "{said}");
}
