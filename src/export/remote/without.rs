//! What is there without the feature: nothing.

use super::super::{Identity, InputsError};
use super::{FEATURE, SCHEMES};

/// An object of a store: there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {}

impl Object {
    /// Its address.
    pub fn url(&self) -> &str {
        match *self {}
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        match *self {}
    }

    /// When it was written, Unix milliseconds.
    pub fn modified_ms(&self) -> Option<i64> {
        match *self {}
    }

    /// Which one it is.
    pub fn identity(&self) -> Identity {
        match *self {}
    }

    /// Its content from the beginning.
    pub fn read(&self) -> std::io::Empty {
        match *self {}
    }

    /// Its content at any place, for Parquet.
    pub fn at_any_place(&self) -> std::fs::File {
        match *self {}
    }
}

/// Refuses the address.
///
/// # Errors
/// Always.
pub(in crate::export) fn find(url: &str, scheme: &str) -> Result<Vec<Object>, InputsError> {
    let built = if SCHEMES.contains(&scheme) {
        format!(" by this build, which lacks the cargo feature {FEATURE}")
    } else {
        String::new()
    };
    let why = format!(
        "addresses of {scheme}:// are not read{built}; copy the files to this machine, or pipe one into `-`"
    );
    Err(InputsError::Refused { path: url.to_owned(), why })
}
