//! Where a preload stands, beside the export: so that it goes on there after it was ended.
//!
//! Holds the files' identities, since a place in another file means nothing; and what the load was asked for, since two
//! different loads must not be one. Only what is *settled* counts as done.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::feed::Place;
use crate::export::Identity;

/// The form of the file. Another one is not read.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    /// The entity.
    pub(super) entity: String,
    /// What it was asked for, in words that change with it.
    pub(super) asked: String,
    /// The inputs in the order in which they are read.
    pub(super) files: Vec<Identity>,
    /// Everything before it is done and settled.
    pub(super) place: Place,
    /// When the load began, Unix milliseconds.
    pub(super) begun_ms: i64,
}

/// Why it is not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system says so.
    #[error("{path}: the checkpoint cannot be read or written; name another place by --checkpoint")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is of another load, or of other files.
    #[error(
        "{path}: a load was begun that is another one: {why}; --restart begins anew, or finish that one first"
    )]
    Other {
        /// The file.
        path: String,
        /// What differs.
        why: String,
    },
}

impl Checkpoint {
    pub(super) fn new(entity: &str, asked: String, files: Vec<Identity>, begun_ms: i64) -> Checkpoint {
        let place = Place::default();
        Checkpoint { version: VERSION, entity: entity.to_owned(), asked, files, place, begun_ms }
    }

    /// The file beside the first path, hidden so that no walk through a folder reads it; of an address in the folder at
    /// hand.
    pub(super) fn beside(path: &Path, entity: &str) -> PathBuf {
        let name = format!(".stoker-preload-{entity}.json");
        if path.to_str().is_some_and(|text| text.contains("://")) {
            return PathBuf::from(name);
        }
        // A pattern's folder may be one itself.
        let mut folder = path.parent().unwrap_or(Path::new(""));
        while folder.to_str().is_some_and(|text| text.contains(['*', '?', '['])) {
            folder = folder.parent().unwrap_or(Path::new(""));
        }
        folder.join(name)
    }

    /// What `path` holds, where this load may go on with it; `None` where there is nothing.
    pub(super) fn resume(&self, path: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
        let shown = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Io { path: shown, source }),
        };
        let other = |why: String| CheckpointError::Other { path: shown.clone(), why };
        let held: Checkpoint =
            serde_json::from_str(&text).map_err(|_| other("it cannot be read".to_owned()))?;
        if held.version != VERSION {
            return Err(other(format!("it is of form {}", held.version)));
        }
        if held.entity != self.entity || held.asked != self.asked {
            return Err(other(format!("it was asked for {}", held.asked)));
        }
        let changed = held.files.iter().zip(&self.files).find(|(then, now)| then != now);
        if let Some((then, now)) = changed {
            let what = if then.path == now.path { "has changed since" } else { "was another file then" };
            return Err(other(format!("{} {what}", now.path)));
        }
        if held.files.len() != self.files.len() {
            return Err(other("there were more or fewer files".to_owned()));
        }
        Ok(Some(held))
    }

    /// Writes it, whole or not at all.
    pub(super) fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.display().to_string(), source };
        let text = serde_json::to_vec(self).map_err(|error| io(error.into()))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let mut file = fs::File::create(&beside).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        file.sync_data().map_err(io)?;
        fs::rename(&beside, path).map_err(io)
    }

    /// Takes it away: the load is done.
    pub(super) fn remove(path: &Path) -> Result<(), CheckpointError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CheckpointError::Io { path: path.display().to_string(), source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(path: &str, bytes: u64) -> Identity {
        Identity { path: path.to_owned(), bytes, modified_ms: 1, head: "h".to_owned() }
    }

    #[test]
    fn only_the_same_load_of_the_same_files_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let new = |asked: &str, files: &[Identity]| Checkpoint::new("e", asked.to_owned(), files.to_vec(), 5);
        let files = [identity("a", 1), identity("b", 2)];
        let mut first = new("x", &files);
        assert_eq!(first.resume(&path).unwrap(), None);
        first.place = Place { input: 1, row: 7 };
        first.save(&path).unwrap();
        assert_eq!(new("x", &files).resume(&path).unwrap(), Some(first));
        for (other, says) in [
            (new("y", &files), "asked for x"),
            (new("x", &[identity("a", 1), identity("b", 3)]), "b has changed"),
            (new("x", &[identity("a", 1)]), "fewer"),
            (new("x", &[identity("c", 1), identity("b", 2)]), "another file"),
        ] {
            let error = other.resume(&path).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        Checkpoint::remove(&path).unwrap();
        Checkpoint::remove(&path).unwrap();
    }

    #[test]
    fn it_lies_beside_the_export_and_in_no_pattern() {
        for (path, expected) in [
            ("exports/2026/", "exports/.stoker-preload-e.json"),
            ("exports/*/x.csv", "exports/.stoker-preload-e.json"),
            ("a.csv", ".stoker-preload-e.json"),
            ("s3://bucket/a/b", ".stoker-preload-e.json"),
            ("topic:t", ".stoker-preload-e.json"),
        ] {
            assert_eq!(Checkpoint::beside(Path::new(path), "e"), Path::new(expected), "{path}");
        }
    }
}
