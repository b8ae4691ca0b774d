//! No two files import each other, directly or through others, unit tests included. A file and those in its
//! own folder are one: a parent names its children, and they use what it has.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::sources;

/// A module: its names from the root.
type Path = Vec<String>;

/// The module of a file.
fn module(file: &str) -> Path {
    let file = file.trim_end_matches(".rs").trim_end_matches("/mod");
    file.split('/').map(str::to_owned).collect()
}

/// The paths of a use declaration, one for each name.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, group)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut members) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match c {
            ',' if depth == 0 => members.push(String::new()),
            c => members.last_mut().unwrap().push(c),
        }
    }
    let named = members.iter().filter(|it| !it.trim().is_empty());
    named.flat_map(|it| expanded(it)).map(|it| format!("{before}{it}")).collect()
}

/// The module that a path of a use declaration in `own` leads to.
fn target(own: &Path, is_in_tests: bool, path: &str, modules: &BTreeSet<Path>) -> Option<Path> {
    let names: Vec<&str> = path.split("::").map(str::trim).collect();
    let supers = names.iter().take_while(|name| **name == "super").count();
    let mut at = match *names.first()? {
        "crate" => Path::new(),
        "self" => own.clone(),
        "super" => {
            let tests = is_in_tests.then(|| "tests".to_owned());
            let mut at: Path = own.iter().cloned().chain(tests).collect();
            at.truncate(at.len().saturating_sub(supers));
            at
        }
        _ => return None,
    };
    let names = names.iter().skip(supers.max(1)).filter(|name| **name != "self");
    at.extend(names.map(|name| (*name).to_owned()));
    while !at.is_empty() && !modules.contains(&at) {
        at.pop();
    }
    (!at.is_empty()).then_some(at)
}

/// What each file imports, but for its parents and children.
fn imports(sources: &[(String, String)]) -> BTreeMap<Path, BTreeSet<Path>> {
    let modules: BTreeSet<Path> = sources.iter().map(|(file, _)| module(file)).collect();
    let mut imports: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
    for (file, text) in sources {
        let own = module(file);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = lines.collect();
        let code = code.join("\n");
        let (before, tests) = code.split_once("mod tests {").unwrap_or((&code, ""));
        for (text, is_in_tests) in [(before, false), (tests, true)] {
            let uses = text.split("use ").skip(1).filter_map(|it| it.split(';').next());
            let paths = uses.flat_map(expanded);
            let targets = paths.filter_map(|it| target(&own, is_in_tests, &it, &modules));
            let others = targets.filter(|it| !it.starts_with(&own) && !own.starts_with(it));
            imports.entry(own.clone()).or_default().extend(others);
        }
    }
    imports
}

/// The way from a file back to itself, if there is one.
fn circle(from: &Path, imports: &BTreeMap<Path, BTreeSet<Path>>) -> Option<Vec<Path>> {
    let (mut ways, mut seen) = (vec![vec![from.clone()]], BTreeSet::new());
    while let Some(way) = ways.pop() {
        for next in imports.get(way.last()?).into_iter().flatten() {
            if next == from {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push(way.iter().cloned().chain([next.clone()]).collect());
            }
        }
    }
    None
}

fn circles(sources: &[(String, String)]) -> Vec<String> {
    let imports = imports(sources);
    let ways = imports.keys().filter_map(|from| circle(from, &imports));
    let told = |way: Vec<Path>| way.iter().map(|it| it.join("/")).collect::<Vec<_>>().join(" -> ");
    ways.map(told).collect()
}

#[test]
fn no_file_imports_itself_through_others() {
    let found = circles(&sources());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_circle_test_sees_what_it_should() {
    let files = |texts: [&str; 3]| {
        let names = ["a/mod.rs", "a/b.rs", "c.rs"];
        let file = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        names.into_iter().zip(texts).map(file).collect::<Vec<_>>()
    };
    let through_group = files(["", "use crate::c::{D, e::{F}};", "use crate::{a::b::G, x};"]);
    assert_eq!(circles(&through_group), ["a/b -> c", "c -> a/b"]);
    let parent = files(["use self::b::X;", "use super::Y;", ""]);
    assert_eq!(circles(&parent), [""; 0]);
    let tests = files(["", "use crate::c::D;", "mod tests {\n    use crate::a::b;\n}"]);
    assert_eq!(circles(&tests).len(), 2);
    let comment = files(["", "use crate::c::D;", "// use crate::a::b;"]);
    assert_eq!(circles(&comment), [""; 0]);
}
