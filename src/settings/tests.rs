//! Whole files, good and bad.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Environment, SettingsError, parse};
use crate::entity::Handlers;

/// An environment of variables and files that a test names.
#[derive(Default)]
pub(super) struct Fake {
    variables: HashMap<String, String>,
    files: HashMap<PathBuf, String>,
}

impl Fake {
    pub(super) fn with(mut self, name: &str, value: &str) -> Fake {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn with_file(mut self, path: &str, content: &str) -> Fake {
        self.files.insert(path.into(), content.to_owned());
        self
    }
}

impl Environment for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn locate(&self, path: &Path) -> PathBuf {
        Path::new("/etc/stoker").join(path)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        3
    }
}
