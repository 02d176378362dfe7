//! From what the command line names to the inputs to read, in the order in which they are read.
//!
//! A folder is walked and sorted by path, so that every run reads it in the same order. What jobs leave beside their
//! parts (`_SUCCESS`, `.crc`, hidden files) is passed over. Folders of table formats are refused: they keep files
//! that no longer belong to the table, which only its own log or manifest tells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::remote::{self, Object};
use super::{Identity, modified_ms, partition};

/// Folders in each other that are walked.
const DEPTH_MAX: usize = 32;
/// Files of one export.
pub(super) const FILES_MAX: usize = 200_000;
/// Standard input, on the command line.
const STDIN: &str = "-";
/// What a topic's name stands behind, on the command line.
const TOPIC: &str = "topic:";

/// One thing to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it lies.
    pub origin: Origin,
    /// The number of the argument that it came of: the first has priority.
    pub argument: usize,
    /// Columns of its folders' names.
    pub partition: Vec<(String, Option<String>)>,
}

/// Where an input lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File(PathBuf),
    /// In an object store.
    Object(Object),
    /// On standard input, which cannot be read twice.
    Stdin,
    /// In a partition of a topic. Its records are not this module's to read.
    Topic {
        /// The topic.
        name: String,
        /// The partition.
        partition: i32,
    },
}

impl Input {
    /// What reports call it.
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::File(path) => path.display().to_string(),
            Origin::Object(object) => object.url().to_owned(),
            Origin::Stdin => "standard input".to_owned(),
            Origin::Topic { name, partition } => format!("{TOPIC}{name}/{partition}"),
        }
    }

    /// True where it can be read again and is the same then.
    pub fn is_kept(&self) -> bool {
        match &self.origin {
            Origin::File(_) | Origin::Object(_) => true,
            Origin::Stdin | Origin::Topic { .. } => false,
        }
    }

    /// Its size as it lies there; 0 of what is neither a file nor an object.
    pub fn bytes(&self) -> u64 {
        match &self.origin {
            Origin::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Origin::Object(object) => object.bytes(),
            Origin::Stdin | Origin::Topic { .. } => 0,
        }
    }

    /// When it was written, Unix milliseconds, where that is told.
    pub fn modified_ms(&self) -> Option<i64> {
        match &self.origin {
            Origin::File(path) => std::fs::metadata(path).ok().as_ref().and_then(modified_ms),
            Origin::Object(object) => object.modified_ms(),
            Origin::Stdin | Origin::Topic { .. } => None,
        }
    }

    /// Which one it is. A partition's records stay where they are: it has nothing but its name.
    ///
    /// # Errors
    /// The system's, where a file cannot be read.
    pub fn identity(&self) -> std::io::Result<Identity> {
        match &self.origin {
            Origin::File(path) => Identity::of(path),
            Origin::Object(object) => Ok(object.identity()),
            Origin::Stdin | Origin::Topic { .. } => Ok(Identity::named(self.name())),
        }
    }
}

/// The topics that these arguments name (`topic:NAME`).
pub fn topics(arguments: &[String]) -> Vec<String> {
    arguments.iter().filter_map(|argument| argument.strip_prefix(TOPIC)).map(str::to_owned).collect()
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// The system says so.
    #[error("{path}: cannot be read")]
    Io {
        /// What.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is there, and is not read.
    #[error("{path}: {why}")]
    Refused {
        /// What.
        path: String,
        /// Why, and what to do.
        why: String,
    },
}

/// Finds what these arguments name: files, folders, glob patterns, `-`, topics. `partitions` says of each topic how many
/// partitions it has.
///
/// # Errors
/// The first one that names nothing, or something that is not read.
pub fn find(arguments: &[String], partitions: &BTreeMap<String, i32>) -> Result<Vec<Input>, InputsError> {
    let mut inputs = Vec::new();
    for (number, argument) in arguments.iter().enumerate() {
        let before = inputs.len();
        if argument == STDIN {
            inputs.push(Input { origin: Origin::Stdin, argument: number, partition: Vec::new() });
            continue;
        }
        if let Some(name) = argument.strip_prefix(TOPIC) {
            let count = partitions.get(name).copied().unwrap_or(0);
            if count == 0 {
                return Err(refused(argument, "there is no such topic".to_owned()));
            }
            inputs.extend((0..count).map(|partition| Input {
                origin: Origin::Topic { name: name.to_owned(), partition },
                argument: number,
                partition: Vec::new(),
            }));
            continue;
        }
        if let Some((scheme, _)) = argument.split_once("://") {
            inputs.extend(remote::find(argument, scheme)?.into_iter().map(|object| Input {
                partition: partition::of_path(Path::new(object.url())),
                origin: Origin::Object(object),
                argument: number,
            }));
            if inputs.len() == before {
                return Err(refused(argument, "no object to read is there".to_owned()));
            }
            continue;
        }
        let path = Path::new(argument);
        let mut add = |path: PathBuf| -> Result<(), InputsError> {
            if inputs.len() >= FILES_MAX {
                return Err(refused(argument, format!("more than {FILES_MAX} files")));
            }
            let partition = partition::of_path(&path);
            inputs.push(Input { origin: Origin::File(path), argument: number, partition });
            Ok(())
        };
        if path.exists() {
            walk(path, 0, &mut add)?;
        } else if argument.contains(['*', '?', '[']) {
            let found = glob::glob(argument).map_err(|error| refused(argument, error.msg.to_owned()))?;
            for path in found {
                let path = path.map_err(|error| InputsError::Io {
                    path: error.path().display().to_string(),
                    source: error.into(),
                })?;
                walk(&path, 0, &mut add)?;
            }
        }
        if inputs.len() == before {
            return Err(refused(argument, "no file to read is there".to_owned()));
        }
    }
    Ok(inputs)
}

fn walk(
    path: &Path,
    depth: usize,
    add: &mut impl FnMut(PathBuf) -> Result<(), InputsError>,
) -> Result<(), InputsError> {
    if !path.is_dir() {
        return add(path.to_owned());
    }
    if depth > DEPTH_MAX {
        return Err(refused(
            &path.display().to_string(),
            format!("folders nested more than {DEPTH_MAX} deep"),
        ));
    }
    let io = |source| InputsError::Io { path: path.display().to_string(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(io)?;
    entries.sort();
    if let Some(why) = refused_table(path, &entries) {
        return Err(refused(&path.display().to_string(), why));
    }
    for entry in entries {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_aside(name) {
            walk(&entry, depth + 1, add)?;
        }
    }
    Ok(())
}

/// True of what jobs leave beside their parts, by its name.
pub(super) fn is_aside(name: &str) -> bool {
    // A partition's folder may begin with anything, but Hive's own names do not hold a `=` then.
    (name.starts_with(['_', '.']) && !name.contains('=')) || name.ends_with(".crc")
}

/// Why this folder is not read, where it is a table.
fn refused_table(folder: &Path, entries: &[PathBuf]) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.iter().filter_map(|entry| name(entry)).collect();
    if names.iter().any(|name| name == "metadata")
        && let Ok(files) = std::fs::read_dir(folder.join("metadata"))
    {
        names.extend(files.flatten().filter_map(|file| Some(format!("metadata/{}", name(&file.path())?))));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    table_of(&names)
}

/// Why what has these paths is not read: it is a table, whose log or manifest tells which files belong to it.
pub(super) fn table_of(paths: &[&str]) -> Option<String> {
    let mut format = None;
    for path in paths {
        let mut parts = path.rsplit('/');
        let file = parts.next().unwrap_or_default();
        let is_metadata = file.ends_with(".metadata.json") || file == "version-hint.text";
        if is_metadata && parts.next() == Some("metadata") {
            format = Some("Iceberg");
        }
        for part in path.split('/') {
            match part {
                "_delta_log" => format = Some("Delta Lake"),
                ".hoodie" => format = Some("Hudi"),
                _ => {}
            }
        }
    }
    format.map(|format| {
        format!(
            "this is a table of {format}, whose folder also holds files that are no longer part of it; export what is to \
             be loaded as plain files (for example by COPY or INSERT … SELECT)"
        )
    })
}

fn refused(path: &str, why: String) -> InputsError {
    InputsError::Refused { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &tempfile::TempDir, arguments: &[&str]) -> Result<Vec<String>, String> {
        let root = format!("{}/", folder.path().display());
        let arguments: Vec<String> = arguments.iter().map(|argument| format!("{root}{argument}")).collect();
        let found = find(&arguments, &BTreeMap::new()).map_err(|error| error.to_string())?;
        Ok(found.iter().map(|input| input.name().replace(&root, "")).collect())
    }

    #[test]
    fn folders_are_sorted_and_what_lies_beside_the_parts_is_passed_over() {
        let folder = tree(&[
            "a/part-1.csv",
            "a/part-0.csv",
            "a/_SUCCESS",
            "a/.part-0.csv.crc",
            "a/x.crc",
            "a/_temporary/0/part",
            "a/_dt=1/part-2.csv",
            "b.csv",
        ]);
        let expected = ["a/_dt=1/part-2.csv", "a/part-0.csv", "a/part-1.csv"];
        assert_eq!(names(&folder, &["a"]).unwrap(), expected);
        assert_eq!(names(&folder, &["b.csv", "a"]).unwrap()[0], "b.csv");
        assert_eq!(names(&folder, &["a/part-*.csv"]).unwrap(), expected[1..]);
        let arguments =
            [format!("{}/a/_dt=1/part-2.csv", folder.path().display()), "-".into(), "topic:t".into()];
        assert_eq!(topics(&arguments), ["t"]);
        let inputs = find(&arguments, &BTreeMap::from([("t".to_owned(), 2)])).unwrap();
        assert_eq!(inputs[0].partition, [("_dt".to_owned(), Some("1".to_owned()))]);
        assert_eq!((inputs[1].origin.clone(), inputs[1].argument), (Origin::Stdin, 1));
        let names: Vec<String> = inputs[2..].iter().map(Input::name).collect();
        assert_eq!((names.join(" "), inputs[3].argument), ("topic:t/0 topic:t/1".to_owned(), 2));
    }

    #[test]
    fn what_is_not_read_is_refused_with_the_reason() {
        let folder = tree(&[
            "d/_delta_log/0.json",
            "d/p.parquet",
            "i/metadata/v1.metadata.json",
            "e/_SUCCESS",
            "h/.hoodie/x",
        ]);
        for (argument, says) in [
            ("d", "Delta"),
            ("i", "Iceberg"),
            ("h", "Hudi"),
            ("e", "no file"),
            ("none", "no file"),
            ("*.x", "no file"),
        ] {
            let error = names(&folder, &[argument]).unwrap_err();
            assert!(error.contains(says), "{argument}: {error}");
        }
        assert!(
            find(&["ftp://host/x".to_owned()], &BTreeMap::new()).unwrap_err().to_string().contains("ftp://")
        );
    }
}
