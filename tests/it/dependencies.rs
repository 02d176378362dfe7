//! What the dependencies may not bring along.

use std::process::Command;

/// `arbitrary_precision` turns every JSON number into a map behind serde's back, in all of the program, as soon as
/// one crate asks for it: numbers in raw parts, flattened structs and untagged enums then read otherwise.
#[test]
fn no_dependency_turns_on_serde_json_s_arbitrary_precision() {
    // Of this machine's platform, with the features that all crates of the build ask for together.
    let output = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p}|{f}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let found = features(&tree, "serde_json");
    assert!(found.iter().any(|features| features.contains(&"raw_value")), "{found:?}: ours is read");
    assert!(
        !found.iter().any(|features| features.contains(&"arbitrary_precision")),
        "a dependency turns on arbitrary_precision: cargo tree -e features -i serde_json tells which; do without it"
    );
}

/// The features of a package, once for each place in the tree.
fn features<'t>(tree: &'t str, package: &str) -> Vec<Vec<&'t str>> {
    let of_package = |line: &&str| line.split(' ').next() == Some(package);
    let features = |line: &'t str| {
        let (_, names) = line.split_once('|').unwrap();
        names.trim_end_matches(" (*)").split(',').collect()
    };
    tree.lines().filter(of_package).map(features).collect()
}

#[test]
fn a_feature_that_is_on_is_found() {
    let tree =
        "serde_json_path v1.0.0|arbitrary_precision\nserde_json v1.0.154|arbitrary_precision,std (*)\n";
    assert_eq!(features(tree, "serde_json"), [["arbitrary_precision", "std"]]);
}
