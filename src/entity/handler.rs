//! The public trait of handlers, and what they are given.
//!
//! A handler says which keys there are and what each of them holds for a row; everything else about a change
//! is the engine's (see [`super::flow`]): which keys an update leaves, what a delete or a tombstone reaches,
//! what goes through the version guard. So a handler cannot forget any of it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::lifetime::Lifetime;
use super::template::{Template, TemplateError};
use crate::change::{Change, Row};
use crate::error::HandleError;
use crate::mutation::{MemberKind, Value};
use crate::patch::Patch;
use crate::record::Record;
use crate::types::RenderStyle;

/// Says what the cache holds of a row: a change in, mutations out.
///
/// - Deterministic: the same change gives the same values (invariant 6); no IO, no clock, no randomness.
/// - Called in offset order within a partition, for different partitions concurrently.
/// - An error is about this record: nothing that it asked for is applied, and `errors.on_error` says what
///   becomes of it. Error texts hold no row values. A panic is caught and counts as an error.
///
/// ```
/// use std::time::Duration;
/// use stoker::entity::{EntityHandler, KeyTemplate, Lifetime, RowImage, Values};
/// use stoker::error::HandleError;
/// use stoker::mutation::Value;
///
/// /// The name of a city: key `city:{id}`, value text.
/// #[derive(Debug)]
/// struct CityName {
///     keys: [KeyTemplate; 1],
/// }
///
/// impl EntityHandler for CityName {
///     fn keys(&self) -> &[KeyTemplate] {
///         &self.keys
///     }
///
///     fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
///         out.write(0, Value::text(row.text("name")?), Lifetime::after(Duration::from_secs(3600)));
///         Ok(())
///     }
/// }
/// # let _ = CityName { keys: [KeyTemplate::parse("city:{id}").unwrap()] };
/// ```
pub trait EntityHandler: Send + Sync + fmt::Debug {
    /// Every key that this handler writes, always the same. A position in this slice names the key in
    /// [`Values`]. Stoker touches no key that is not made of one of these templates (invariant 11).
    fn keys(&self) -> &[KeyTemplate];

    /// The longest that a value may live after the commit of the change that wrote it, where every value counts from
    /// there; `None` where one does not. A refill leaves out what is older.
    fn longest_life(&self) -> Option<Duration> {
        None
    }

    /// Says what the row's keys hold: called for rows that were created, updated or read by a snapshot.
    ///
    /// A key that is given no value is deleted, for a row that no longer qualifies must not stay cached.
    ///
    /// A column that the event does not hold ([`Row::get`] fails on it) deletes the row's keys and is no
    /// error.
    ///
    /// Called for what may be stored of a row as well ([`RowImage::is_stored`]), where a secondary key of a
    /// source without positions is to be deleted only while it holds that row's value; there an error only
    /// means that it is not deleted.
    fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError>;

    /// Whether it may read the text of the source block ([`Change::source`]). Where no handler of a topic does, decoders
    /// of binary formats do not put it together.
    fn reads_source(&self) -> bool {
        true
    }

    /// The columns that it reads of a row, those of its keys among them: of a wide export only these are read from
    /// the file. `None`, the default, where it may be any.
    fn columns(&self) -> Option<Vec<String>> {
        None
    }
}

/// A key of a handler.
#[derive(Debug, Clone)]
pub struct KeyTemplate {
    template: Template,
    member: Option<(MemberKind, Template)>,
    shared: bool,
    invalidated: bool,
}

impl KeyTemplate {
    /// A key of that template.
    pub fn new(template: Template) -> KeyTemplate {
        KeyTemplate { template, member: None, shared: false, invalidated: false }
    }

    /// A key of that template's text, such as `price:v1:{offer_id}`.
    pub fn parse(text: &str) -> Result<KeyTemplate, TemplateError> {
        Template::parse(text).map(KeyTemplate::new)
    }

    /// Another template may give the same key: it goes through the version guard even where the partition
    /// orders it.
    pub fn shared(mut self) -> KeyTemplate {
        self.shared = true;
        self
    }

    /// The key's readers fill it: it is deleted on every change and never written, so no guard is needed.
    pub fn invalidated(mut self) -> KeyTemplate {
        self.invalidated = true;
        self
    }

    /// The key is a set, or sorted set, of which a row is the member of that template: written with
    /// [`Value::member`] or [`Value::score`], and [`Lifetime::never`], for a member does not expire.
    ///
    /// ```
    /// use stoker::entity::{KeyTemplate, Lifetime, Values, template::Template};
    /// use stoker::mutation::{MemberKind, Value};
    ///
    /// let board = KeyTemplate::parse("board:{region}")?
    ///     .with_member(MemberKind::SortedSet, Template::parse("{player_id}")?);
    /// // In `EntityHandler::values`, where `board` is the first of the keys:
    /// fn points(out: &mut Values, points: f64) -> Result<(), stoker::error::HandleError> {
    ///     out.write(0, Value::score(points)?, Lifetime::never());
    ///     Ok(())
    /// }
    /// # let _ = (board, points);
    /// # Ok::<(), stoker::entity::template::TemplateError>(())
    /// ```
    pub fn with_member(mut self, kind: MemberKind, member: Template) -> KeyTemplate {
        self.member = Some((kind, member));
        self
    }

    /// The template; of the key alone, where it has members.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The template of the member, and what kind of set it is of.
    pub fn member(&self) -> Option<(MemberKind, &Template)> {
        self.member.as_ref().map(|(kind, template)| (*kind, template))
    }

    /// The columns of key and member; one may appear twice.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.templates().flat_map(Template::columns)
    }

    /// The columns by which key and member tell rows apart; see [`Template::plain_columns`].
    pub fn plain_columns(&self) -> impl Iterator<Item = &str> {
        self.templates().flat_map(Template::plain_columns)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        std::iter::once(&self.template).chain(self.member.as_ref().map(|(_, member)| member))
    }

    /// True under [`KeyTemplate::shared`].
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// True under [`KeyTemplate::invalidated`].
    pub fn is_invalidated(&self) -> bool {
        self.invalidated
    }
}

/// A row, with the change and the record that it came by. Columns are read as of a [`Row`]:
/// `row.get::<u64>("id")?`, `row.text("name")?`.
#[derive(Debug, Clone, Copy)]
pub struct RowImage<'c> {
    pub(crate) row: &'c Row<'c>,
    pub(crate) change: &'c Change<'c>,
    pub(crate) record: &'c Record<'c>,
    pub(crate) style: RenderStyle,
    pub(crate) stored: bool,
}

impl<'c> RowImage<'c> {
    /// The change. Its `before` holds only columns that may be believed.
    pub fn change(&self) -> &'c Change<'c> {
        self.change
    }

    /// The record.
    pub fn record(&self) -> &'c Record<'c> {
        self.record
    }

    /// The row.
    pub fn row(&self) -> &'c Row<'c> {
        self.row
    }

    /// How the entity's values are rendered.
    pub fn style(&self) -> RenderStyle {
        self.style
    }

    /// True where the question is what the cache may hold of this row, not whether it still qualifies.
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// When the source committed the change, else when the record was produced; Unix milliseconds.
    pub fn commit_ms(&self) -> Option<i64> {
        self.change.commit_ms.or(self.record.timestamp_ms)
    }
}

impl<'c> Deref for RowImage<'c> {
    type Target = Row<'c>;

    fn deref(&self) -> &Row<'c> {
        self.row
    }
}

/// What a handler gives each of its keys.
#[derive(Debug, Default)]
pub struct Values {
    slots: SmallVec<[Slot; 2]>,
    undecided: Vec<Undecided>,
    misnamed: bool,
}

/// What one key is given.
#[derive(Debug, Default)]
pub(crate) enum Slot {
    /// No value: the row does not have this key, or does not qualify.
    #[default]
    Unset,
    /// The row has this key, but the change does not tell its value.
    Withheld,
    /// This value.
    Written(Value, Lifetime),
    /// What the change tells of the value, over what the key holds.
    Patched(Patch, Lifetime),
}

/// A condition that could not be evaluated, so that the key was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// Position of the key in [`EntityHandler::keys`]; `None` where the condition is about the whole row.
    pub key: Option<usize>,
    /// Why, without values.
    pub reason: String,
}

impl Values {
    pub(crate) fn new(key_count: usize) -> Values {
        let mut slots = SmallVec::new();
        slots.resize_with(key_count, Slot::default);
        Values { slots, undecided: Vec::new(), misnamed: false }
    }

    /// The key at that position of [`EntityHandler::keys`] holds this value for so long.
    ///
    /// A position without a key, or one whose key is [`KeyTemplate::invalidated`], is the handler's defect
    /// and fails the record; and so is a member's value for a key without members, and the other way round.
    pub fn write(&mut self, key: usize, value: Value, lifetime: Lifetime) {
        self.put(key, Slot::Written(value, lifetime));
    }

    /// The row has the key at that position, but the change does not tell its value: the key is deleted, as
    /// it would have been written, whatever it holds.
    pub fn withhold(&mut self, key: usize) {
        self.put(key, Slot::Withheld);
    }

    /// The row has the key at that position, and the change tells this much of its value. Where it is not certain
    /// that the key holds this row's value as it was before the change, the key is deleted instead.
    pub(crate) fn patch(&mut self, key: usize, patch: Patch, lifetime: Lifetime) {
        self.put(key, Slot::Patched(patch, lifetime));
    }

    fn put(&mut self, key: usize, given: Slot) {
        match self.slots.get_mut(key) {
            Some(slot) => *slot = given,
            None => self.misnamed = true,
        }
    }

    pub(crate) fn withhold_all(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = Slot::Withheld);
    }

    /// Tells that a condition could not be evaluated; the key, if it is given no value, is deleted.
    pub fn undecided(&mut self, key: Option<usize>, reason: impl Into<String>) {
        self.undecided.push(Undecided { key, reason: reason.into() });
    }

    pub(crate) fn take(&mut self, key: usize) -> Slot {
        self.slots.get_mut(key).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn take_undecided(&mut self) -> Vec<Undecided> {
        std::mem::take(&mut self.undecided)
    }

    /// What the handler did that it must not, if anything.
    pub(crate) fn defect(&self, keys: &[KeyTemplate]) -> Option<&'static str> {
        const NOT_WRITTEN: &str = "the handler gave a value to a key that it does not write";
        const OTHER_KIND: &str =
            "the handler gave a key a value of another kind: members and whole values differ";
        if self.misnamed {
            return Some(NOT_WRITTEN);
        }
        self.slots.iter().zip(keys).find_map(|(slot, key)| match slot {
            Slot::Unset | Slot::Withheld => None,
            Slot::Written(..) | Slot::Patched(..) if key.invalidated => Some(NOT_WRITTEN),
            Slot::Written(value, _) if !value.fits(key.member().map(|(kind, _)| kind)) => Some(OTHER_KIND),
            Slot::Patched(..) if key.member.is_some() => Some(OTHER_KIND),
            Slot::Written(_, lifetime) if key.member.is_some() && *lifetime != Lifetime::never() => {
                Some("the handler gave a member a lifetime: members do not expire")
            }
            Slot::Written(..) | Slot::Patched(..) => None,
        })
    }
}

/// Handlers in Rust by the name that `handler = "…"` uses. A binary of one's own passes them to Stoker's main
/// and gets every command.
#[derive(Debug, Clone, Default)]
pub struct Handlers {
    by_name: BTreeMap<String, Arc<dyn EntityHandler>>,
}

impl Handlers {
    /// None.
    pub fn new() -> Handlers {
        Handlers::default()
    }

    /// Adds one. The last of a name counts.
    pub fn with(mut self, name: impl Into<String>, handler: impl EntityHandler + 'static) -> Handlers {
        self.by_name.insert(name.into(), Arc::new(handler));
        self
    }

    /// The handler of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn EntityHandler>> {
        self.by_name.get(name)
    }

    /// All names, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
