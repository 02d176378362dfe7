//! What happened, line by line: kept only where somebody will read it.

/// The trace of one run.
#[derive(Debug, Default)]
pub(super) enum Trace {
    /// Nobody reads it: the ordinary run.
    #[default]
    Off,
    /// Kept, to be compared.
    Kept(Vec<String>),
    /// Printed as it comes: a replay.
    Printed,
}

impl Trace {
    pub(super) fn line(&mut self, at_us: u64, words: impl FnOnce() -> String) {
        match self {
            Trace::Off => {}
            Trace::Kept(lines) => lines.push(format!("{at_us} {}", words())),
            Trace::Printed => println!("{:>12.6} {}", at_us as f64 / 1e6, words()),
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        match self {
            Trace::Kept(lines) => lines,
            Trace::Off | Trace::Printed => Vec::new(),
        }
    }
}
