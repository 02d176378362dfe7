//! Which file it is: what tells on resuming that it is still the same one.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of the beginning that are looked at.
const HEAD_BYTES: u64 = 64 * 1024;

/// A file, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its path as it was found.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written last, Unix milliseconds; 0 where the system does not say.
    pub modified_ms: i64,
    /// A digest of its first 64 KiB.
    pub head: String,
}

impl Identity {
    /// Of what has nothing but a name: a partition, whose records stay where they are.
    pub fn named(name: String) -> Identity {
        Identity { path: name, bytes: 0, modified_ms: 0, head: String::new() }
    }

    /// Looks at a file.
    ///
    /// # Errors
    /// The system's, where it cannot be read.
    pub fn of(path: &Path) -> io::Result<Identity> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut head = Vec::new();
        file.take(HEAD_BYTES).read_to_end(&mut head)?;
        let digest = Sha256::digest(&head);
        let head = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(Identity {
            path: path.display().to_string(),
            bytes: metadata.len(),
            modified_ms: modified_ms(&metadata).unwrap_or(0),
            head,
        })
    }
}

/// When a file was written last, Unix milliseconds.
pub fn modified_ms(metadata: &Metadata) -> Option<i64> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "id\n1\n").unwrap();
        let first = Identity::of(&path).unwrap();
        assert_eq!(Identity::of(&path).unwrap(), first);
        // The same size, and maybe the same millisecond.
        std::fs::write(&path, "id\n2\n").unwrap();
        assert_ne!(Identity::of(&path).unwrap().head, first.head);
    }
}
