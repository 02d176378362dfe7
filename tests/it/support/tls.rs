//! Certificates that only a test trusts.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate of 127.0.0.1 that it signed itself, and its key, in that folder.
pub(crate) fn certificate(folder: &Path) -> [PathBuf; 2] {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl runs: `apt-get install openssl`");
    assert!(made.status.success());
    [cert, key]
}
