//! The house rules that a program can check.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn dependency_arrows_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut arrows = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let (from, to) = (
                package["name"].as_str().unwrap(),
                dependency["name"].as_str().unwrap(),
            );
            if to.starts_with("narthex") && from != to {
                arrows.insert(format!("{from} -> {to}"));
            }
        }
    }
    let expected = [
        "narthex -> narthex-query",
        "narthex -> narthex-rules",
        "narthex -> narthex-storage",
        "narthex -> narthex-yaml",
        "narthex-query -> narthex-storage",
        "narthex-rules -> narthex-query",
        "narthex-rules -> narthex-storage",
        "narthex-rules -> narthex-yaml",
    ];
    assert_eq!(arrows, expected.map(str::to_owned).into());
}

#[test]
fn the_engine_never_names_the_store_it_reads() {
    let mut folders = vec![root().join("query/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                assert!(
                    !text.contains("narthex_storage::Db"),
                    "{} names Db",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn links_and_paths_in_the_documents_exist() {
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        for (start, _) in text.match_indices("](") {
            let rest = text.get(start + 2..).unwrap();
            let link = rest.split([')', '#']).next().unwrap();
            if !link.is_empty() && !link.contains("://") {
                assert!(root().join(link).exists(), "{name} links to {link}");
            }
        }
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = [
                "src/", "storage/", "query/", "rules/", "yaml/", "docker/", "tests/", "benches/",
                ".ci/",
            ]
            .iter()
            .any(|prefix| quoted.starts_with(prefix))
                && !quoted.contains([' ', '{', '*', '\n']);
            if is_path {
                let path = quoted.split([':', '#']).next().unwrap();
                assert!(root().join(path).exists(), "{name} names {path}");
            }
        }
    }
}

#[test]
fn the_changelog_has_its_shape() {
    const KINDS: [&str; 7] = [
        "CHANGE",
        "FEATURE",
        "ENHANCEMENT",
        "PERF",
        "BUGFIX",
        "SECURITY",
        "DEPRECATED",
    ];
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(text.contains("\n## Unreleased\n"));
    for line in text.lines().filter(|line| line.starts_with("- ")) {
        let kind = line
            .strip_prefix("- [")
            .and_then(|rest| rest.split(']').next());
        assert!(kind.is_some_and(|kind| KINDS.contains(&kind)), "{line}");
    }
}

#[test]
fn the_readme_lists_what_is_not_built() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = narthex::config::support::markdown_table();
    assert!(
        readme.contains(&table),
        "README.md should quote the table of support.rs:\n{table}"
    );
}
