//! The pages keep what they say: links lead somewhere, README stays short, and what a page lists of the
//! source is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::FLOORS;

/// Lines of README.md: one that is longer is not read.
const README_LINES_MAX: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every page, by its path from the root.
fn pages() -> Vec<String> {
    let top = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "examples/README.md",
    ];
    let docs = ["docs", "docs/devices"].into_iter().flat_map(|folder| {
        let is_page = |name: &String| Path::new(name).extension().is_some_and(|it| it == "md");
        let pages = names_in(folder).into_iter().filter(is_page);
        pages.map(move |name| format!("{folder}/{name}"))
    });
    top.into_iter().map(str::to_owned).chain(docs).collect()
}

/// The lines of a page that are text: no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where a line's links lead: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        return vec![target];
    }
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let Ok(text) = fs::read_to_string(page) else { return false };
    prose(&text).filter(|line| line.starts_with('#')).any(|heading| anchor(heading) == wanted)
}

/// Links of a page that lead nowhere.
fn broken(page: &str, text: &str) -> Vec<String> {
    let folder = root().join(page).parent().map(PathBuf::from).unwrap();
    let leads = |target: &str| {
        if target.starts_with("https://") {
            return true;
        }
        let (path, wanted) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() { root().join(page) } else { folder.join(path) };
        path.exists() && (wanted.is_empty() || has_anchor(&path, wanted))
    };
    let targets = prose(text).flat_map(targets);
    targets.filter(|target| !leads(target)).map(|target| format!("{page}: {target}")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 10, "the test looks at the pages");
    let broken: Vec<_> = pages.iter().flat_map(|page| broken(page, &read(page))).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_link_test_sees_what_it_should() {
    let text = "[a](docs/none.md) [b](docs/delivery.md#promises) [c](docs/delivery.md#none) [d](#none)\n\
                ```\n[e](none)\n```\n[`f`]: src/none.rs\n[g](https://example.org)\n# A heading: `here`\n";
    let found = ["docs/none.md", "docs/delivery.md#none", "#none", "src/none.rs"];
    assert_eq!(broken("README.md", text), found.map(|it| format!("README.md: {it}")));
    assert_eq!(anchor("## A heading: `here`"), "a-heading-here");
}

#[test]
fn the_first_page_is_short_and_leads_to_all_others() {
    let text = read("README.md");
    let lines = text.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines: docs/ has room");
    let linked: BTreeSet<&str> = prose(&text).flat_map(targets).collect();
    // The recipes have an index of their own.
    let is_led_to = |page: &String| {
        let is_recipe = page.starts_with("docs/devices/") && !page.ends_with("/README.md");
        page == "README.md" || is_recipe || linked.contains(page.as_str())
    };
    let pages = pages();
    let missing: Vec<_> = pages.iter().filter(|it| !is_led_to(it)).collect();
    assert!(missing.is_empty(), "README.md does not lead to {missing:?}");
}

/// The names in backquotes of a table's column, for each row between two lines of a page.
fn column<'a>(text: &'a str, from: &str, at: usize) -> Vec<Vec<&'a str>> {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no table {from:?}"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        row.split('|').nth(at).unwrap_or_default().split('`').skip(1).step_by(2).collect()
    })
    .collect()
}

#[test]
fn the_table_of_floors_is_the_one_that_is_held() {
    let text = read("ARCHITECTURE.md");
    let table = column(&text, "| floor | | modules |", 3);
    let sorted = |modules: &[&'static str]| modules.iter().copied().collect::<BTreeSet<&str>>();
    let said: Vec<BTreeSet<&str>> =
        table.iter().rev().map(|modules| modules.iter().copied().collect()).collect();
    assert_eq!(said, FLOORS.map(sorted));
}

#[test]
fn the_map_of_the_engine_names_each_of_its_files() {
    let text = read("ARCHITECTURE.md");
    let said: BTreeSet<&str> =
        column(&text, "| file | decides | asks |", 1).into_iter().flatten().collect();
    let files = names_in("src/pipeline");
    let there: BTreeSet<&str> = files.iter().map(|name| name.trim_end_matches(".rs")).collect();
    let said: BTreeSet<&str> = said.iter().map(|name| name.trim_end_matches(".rs")).collect();
    assert_eq!(said, there);
}
