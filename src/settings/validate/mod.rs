//! From fields of the right type to settings that make sense: units, bounds, what goes with what.
//!
//! Everything wrong is collected, with a stand-in kept in its place so that the rest can be checked too. The
//! stand-ins are never used: settings with a problem are not returned.

mod entity;
mod fields;
mod guard;
mod kafka;
mod keys;
mod process;
mod redis;
mod registry;
mod unavailable;
mod write;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::document::Path;
use super::expand::Environment;
use super::problem::Findings;
use super::raw::{DurationText, ShareText, SizeText, Stoker};
use super::{Secret, Settings, units};
use crate::entity::Handlers;

/// What checking needs beside the fields.
pub(super) struct Context<'c, 'd> {
    pub(super) findings: &'c mut Findings<'d>,
    pub(super) environment: &'c dyn Environment,
    pub(super) handlers: &'c Handlers,
    /// Texts that a variable or a file has changed.
    pub(super) filled_in: &'c HashSet<Path>,
    /// Files that texts came from.
    pub(super) files: &'c HashMap<Path, PathBuf>,
}

impl Context<'_, '_> {
    /// A value as messages show it: quoted, unless it came from a variable or a file.
    fn shown(&self, value: &str, path: &Path) -> String {
        if self.filled_in.contains(path) { "the value".to_owned() } else { format!("{value:?}") }
    }

    /// The text at `path` as a secret.
    fn secret(&self, text: String, path: &Path) -> Secret {
        match self.files.get(path) {
            Some(file) => Secret::of_file(text, file.clone()),
            None => Secret::new(text),
        }
    }

    fn duration(
        &mut self,
        raw: &DurationText,
        path: &Path,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.parsed(units::duration(&raw.0), &raw.0, path)?;
        self.bounded(value, path, bounds, units::show_duration)
    }

    fn duration_or(
        &mut self,
        raw: Option<&DurationText>,
        path: &Path,
        default: Duration,
        bounds: &RangeInclusive<Duration>,
    ) -> Duration {
        raw.and_then(|raw| self.duration(raw, path, bounds)).unwrap_or(default)
    }

    fn size_or(
        &mut self,
        raw: Option<&SizeText>,
        path: &Path,
        default: usize,
        bounds: &RangeInclusive<usize>,
    ) -> usize {
        let value = raw.and_then(|raw| self.parsed(units::size(&raw.0), &raw.0, path));
        value.and_then(|value| self.bounded(value, path, bounds, units::show_size)).unwrap_or(default)
    }

    fn share(&mut self, raw: &ShareText, path: &Path) -> Option<f64> {
        self.parsed(units::share(&raw.0), &raw.0, path)
    }

    fn parsed<T>(&mut self, parsed: Result<T, &'static str>, text: &str, path: &Path) -> Option<T> {
        parsed.map_err(|wrong| self.findings.refuse(path, format!("{} {wrong}", self.shown(text, path)))).ok()
    }

    fn bounded<T: PartialOrd + Copy, S: Display>(
        &mut self,
        value: T,
        path: &Path,
        bounds: &RangeInclusive<T>,
        show: fn(T) -> S,
    ) -> Option<T> {
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(*bounds.start()), show(*bounds.end()));
        self.findings.refuse(path, format!("is out of bounds: at least {least}, at most {most}"));
        None
    }

    /// A text with no characters in it is a slip, or an empty variable.
    fn filled<'t>(&mut self, text: Option<&'t str>, path: &Path) -> Option<&'t str> {
        let text = text?;
        if text.trim().is_empty() {
            self.findings.refuse(path, "is empty");
            return None;
        }
        Some(text)
    }
}

/// Settings from the fields of a file. Worth something only where nothing was refused.
pub(super) fn settings(raw: &Stoker, context: &mut Context<'_, '_>) -> Option<Settings> {
    let root = Path::default();
    let kafka = raw.kafka.as_ref().and_then(|raw| kafka::kafka(raw, &root.key("kafka"), context));
    let redis = raw.redis.as_ref().and_then(|raw| redis::redis(raw, &root.key("redis"), context));
    let registry =
        raw.registry.as_ref().and_then(|raw| registry::registry(raw, &root.key("registry"), context));
    let errors = process::errors(raw.errors.as_ref(), &root.key("errors"), context);
    let limits = process::limits(raw.limits.as_ref(), &root.key("limits"), context);
    let ready = process::ready(raw.ready.as_ref(), &root.key("ready"), context);
    let refill = process::refill(raw.refill.as_ref(), &root.key("refill"), context);
    let verify = process::verify(raw.verify.as_ref(), &root.key("verify"), context);
    let log = process::log(raw.log.as_ref(), &root.key("log"), context);
    let admin = raw.admin.as_ref().and_then(|raw| process::admin(raw, &root.key("admin"), context));
    let mut drafts =
        entity::entities(raw.entity.as_deref().unwrap_or_default(), &root.key("entity"), context);

    // The prefix that counts where [redis] itself has a problem is the default: the keys are checked anyway.
    let own_prefix = redis.as_ref().map_or(super::defaults::OWN_PREFIX, |redis| redis.own_prefix.as_str());
    keys::check(&drafts, own_prefix, context);
    guard::check(&drafts, context);
    process::check_dead_letters(&errors, &drafts, &root.key("errors"), context);
    if let Some(kafka) = &kafka {
        kafka::check_drain(kafka, &limits, &root, context);
        unavailable::check_start(kafka, &mut drafts, context);
    }
    let entities: Option<Vec<_>> = drafts.into_iter().map(|draft| draft.finish(limits.value_bytes)).collect();
    Some(Settings {
        kafka: kafka?,
        registry,
        redis: redis?,
        errors,
        limits,
        ready,
        refill,
        verify,
        log,
        admin,
        entities: Arc::from(entities?),
    })
}
