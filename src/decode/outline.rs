//! The outline of a JSON object: all of it but its values, as records before had it. A guess that saves reading it.
//!
//! Records of a table have the same members in the same order, one after the other, in rows and source blocks as in
//! the envelope around them. So what lies between two values is compared as one piece, white space and all, and only
//! values are read, each into the place that the outline knows. Where anything differs, the guess was wrong: the
//! record is read from its beginning by [`super::debezium`] or [`super::rows`], and its outline learned for the next
//! one. Nothing is taken for granted: an outline gives what reading would, or nothing. Start at [`Outlines`].
//!
//! Decoding a Debezium envelope of 37 members takes half the instructions that it takes to read each name.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::connect::Document;
use super::json::{Fault, Scanner};
use super::position::{Field, Source};
use super::rows;
use crate::change::Row;

/// Outlines that are kept of a topic's records: creates, updates, deletes and snapshots of a table have one each.
const OUTLINES_MAX: usize = 6;
/// Values of an object, and bytes between them, over which it is not worth a guess.
const STEPS_MAX: usize = 1024;
const BYTES_MAX: usize = 64 << 10;
/// Records after which what was the same in all of them is taken for constant: the table, the version of the connector.
const SETTLES_AFTER: u32 = 64;
/// Bytes of a value that may become a constant.
const CONSTANT_BYTES_MAX: usize = 256;
/// Where so many records in a row fitted none, only every so manyth is held against them and learned from: a topic
/// whose records all differ is read as it comes.
const MISSES_MAX: u32 = 16;
const TRY_EVERY: u32 = 32;

/// Which object a member is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    /// Or the row, where there is no envelope.
    After,
    Source,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy)]
enum Place {
    Column(Part),
    Source(Field),
    Op,
    /// Nowhere.
    Other,
}

/// What lies between two values: compared as it stands.
#[derive(Debug, Default)]
struct Lead {
    text: String,
    /// Braces of parts in it, from left to right.
    braces: Vec<Brace>,
    /// Values in it that are the same in every record.
    constants: Vec<(Field, Range<usize>)>,
}

/// Where a part begins or ends, by the byte of its brace.
#[derive(Debug, Clone, Copy)]
enum Brace {
    Opens(usize),
    Closes(Part, usize),
}

/// What lies before a value, from the end of the one before, and where the value goes.
#[derive(Debug)]
struct Step {
    lead: Lead,
    /// Where the value's name lies in it.
    name: Range<usize>,
    place: Place,
    /// What the value was when the outline was learned, and whether it was something else since. Told only of what
    /// may become a constant.
    first: Box<str>,
    varies: bool,
}

/// One outline.
#[derive(Debug)]
struct Outline {
    steps: Vec<Step>,
    tail: Lead,
    /// Records that it fitted, up to [`SETTLES_AFTER`].
    fitted: u32,
    before: State,
    after: State,
    has_source: bool,
    columns: usize,
}

/// What an envelope has for a row image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Missing,
    Null,
    Row,
}

/// What was read by an outline.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// A JSON token.
    pub(super) op: Option<&'a str>,
    pub(super) before: (State, Row<'a>),
    pub(super) after: (State, Row<'a>),
    pub(super) source: Option<Source<'a>>,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// Debezium's envelope.
    Envelope,
    /// A row by itself.
    Row,
}

/// The outlines of one kind of object in a topic.
#[derive(Debug, Default)]
pub(super) struct Outlines {
    known: Vec<Outline>,
    /// The one that fitted last.
    last: usize,
    misses: u32,
}

impl Outlines {
    /// Reads the document by an outline; `None` where none fits.
    #[inline]
    pub(super) fn read<'a>(&mut self, document: Document<'a>, whole: Whole) -> Option<Found<'a>> {
        if self.is_hopeless() {
            return None;
        }
        let last = self.known.get_mut(self.last)?;
        if let Some(found) = last.read(document, whole) {
            self.misses = 0;
            return Some(found);
        }
        for (index, outline) in self.known.iter_mut().enumerate().filter(|(index, _)| *index != self.last) {
            if let Some(found) = outline.read(document, whole) {
                (self.last, self.misses) = (index, 0);
                return Some(found);
            }
        }
        None
    }

    /// Learns from a document that none fitted, and that was read without a fault.
    pub(super) fn learn(&mut self, document: Document<'_>, whole: Whole) {
        let is_hopeless = self.is_hopeless();
        self.misses = self.misses.wrapping_add(1).max(1);
        if is_hopeless {
            return;
        }
        let Some(outline) = Learning::of(document, whole) else { return };
        self.last = match self.known.len() {
            OUTLINES_MAX => (self.last + 1) % OUTLINES_MAX,
            count => count,
        };
        match self.known.get_mut(self.last) {
            Some(known) => *known = outline,
            None => self.known.push(outline),
        }
    }

    fn is_hopeless(&self) -> bool {
        self.misses >= MISSES_MAX && !self.misses.is_multiple_of(TRY_EVERY)
    }
}

impl Outline {
    fn read<'a>(&mut self, document: Document<'a>, whole: Whole) -> Option<Found<'a>> {
        let mut scanner = document.scanner();
        scanner.peek();
        // Most that do not fit differ at once, and nothing is to be allocated for them.
        let first = self.steps.first().map_or(&self.tail, |step| &step.lead);
        if !{ scanner }.pass(&first.text) {
            return None;
        }
        let (text, plan) = (document.text(), document.plan);
        let (before_fields, after_fields) = match whole {
            Whole::Envelope => (plan.map(|plan| &plan.before), plan.map(|plan| &plan.after)),
            Whole::Row => (None, plan.map(|plan| &plan.row)),
        };
        let mut found = Found {
            op: None,
            before: (self.before, Row::default()),
            after: (self.after, Row::default()),
            source: self.has_source.then(Source::default),
        };
        found.after.1.columns.reserve_exact(self.columns);
        let is_settled = self.fitted >= SETTLES_AFTER;
        let mut opened = 0;
        for step in &mut self.steps {
            let begin = scanner.position();
            if !found.pass(&step.lead, &mut scanner, text, &mut opened) {
                return None;
            }
            let token = scanner.skip_inside().ok()?;
            if !is_settled && !step.varies {
                step.varies = *step.first != *token;
            }
            match step.place {
                Place::Column(part) => {
                    let name = text.get(begin + step.name.start..begin + step.name.end)?;
                    let (row, fields) = match part {
                        Part::Before => (&mut found.before.1, before_fields),
                        Part::After | Part::Source => (&mut found.after.1, after_fields),
                    };
                    row.columns.push(rows::column(Cow::Borrowed(name), token, fields, row.columns.len()));
                }
                Place::Source(field) => {
                    if let Some(source) = &mut found.source {
                        source.take(field, token);
                    }
                }
                Place::Op => found.op = Some(token),
                Place::Other => {}
            }
        }
        if !found.pass(&self.tail, &mut scanner, text, &mut opened) {
            return None;
        }
        scanner.finish().ok()?;
        if !is_settled {
            self.fitted += 1;
            if self.fitted == SETTLES_AFTER {
                self.settle();
            }
        }
        Some(found)
    }

    /// Puts what was the same in all records into what is compared.
    fn settle(&mut self) {
        let mut lead = Lead::default();
        for mut step in std::mem::take(&mut self.steps) {
            let begin = lead.text.len();
            lead.append(&step.lead);
            let field = match step.place {
                Place::Source(field) if !step.varies => field,
                Place::Other if !step.varies => Field::Unknown,
                Place::Source(_) | Place::Other | Place::Column(_) | Place::Op => {
                    step.name = begin + step.name.start..begin + step.name.end;
                    self.steps.push(Step { lead: std::mem::take(&mut lead), ..step });
                    continue;
                }
            };
            let at = lead.text.len();
            lead.text.push_str(&step.first);
            lead.constants.push((field, at..lead.text.len()));
        }
        lead.append(&self.tail);
        self.tail = lead;
    }
}

impl Lead {
    fn append(&mut self, behind: &Lead) {
        let at = self.text.len();
        self.text.push_str(&behind.text);
        self.braces.extend(behind.braces.iter().map(|brace| match *brace {
            Brace::Opens(byte) => Brace::Opens(at + byte),
            Brace::Closes(part, byte) => Brace::Closes(part, at + byte),
        }));
        let constants = behind.constants.iter();
        self.constants.extend(constants.map(|(field, range)| (*field, at + range.start..at + range.end)));
    }
}

impl<'a> Found<'a> {
    /// Passes over what lies between two values; false where it is something else. `opened` is where the part at hand
    /// began.
    #[inline]
    fn pass(&mut self, lead: &Lead, scanner: &mut Scanner<'a>, text: &'a str, opened: &mut usize) -> bool {
        let begin = scanner.position();
        if !scanner.pass(&lead.text) {
            return false;
        }
        for brace in &lead.braces {
            match *brace {
                Brace::Opens(at) => *opened = begin + at,
                Brace::Closes(part, at) => {
                    if let Some(text) = text.get(*opened..=begin + at) {
                        self.take_text(part, text);
                    }
                }
            }
        }
        if let Some(source) = &mut self.source {
            for (field, range) in &lead.constants {
                if let Some(token) = text.get(begin + range.start..begin + range.end) {
                    source.take(*field, token);
                }
            }
        }
        true
    }

    fn take_text(&mut self, part: Part, text: &'a str) {
        match part {
            Part::Before => self.before.1.text = Some(text),
            Part::After => self.after.1.text = Some(text),
            Part::Source => {
                if let Some(source) = &mut self.source {
                    source.raw = Some(text);
                }
            }
        }
    }
}

/// An outline that is being made.
struct Learning<'a> {
    text: &'a str,
    /// Where the last value ended.
    at: usize,
    steps: Vec<Step>,
    /// Braces since then, by their bytes in the text.
    braces: Vec<Brace>,
    before: State,
    after: State,
    has_source: bool,
}

/// An object that cannot be told by an outline: it has a name twice, or one with an escape, or an object or a text
/// where its place decides what it means.
const UNFIT: Fault = Fault { at: 0, what: "no outline" };

/// A name that stands in the text as it is.
fn plain<'a>(name: &Cow<'a, str>) -> Result<&'a str, Fault> {
    match name {
        Cow::Borrowed(name) => Ok(name),
        Cow::Owned(_) => Err(UNFIT),
    }
}

impl<'a> Learning<'a> {
    fn of(document: Document<'a>, whole: Whole) -> Option<Outline> {
        let mut scanner = document.scanner();
        scanner.peek();
        let mut learning = Learning {
            text: document.text(),
            at: scanner.position(),
            steps: Vec::new(),
            braces: Vec::new(),
            before: State::Missing,
            after: State::Missing,
            has_source: false,
        };
        match whole {
            Whole::Envelope => learning.envelope(&mut scanner),
            Whole::Row => {
                learning.after = State::Row;
                learning.part(&mut scanner, Part::After)
            }
        }
        .ok()?;
        let tail = learning.lead(scanner.position()).ok()?;
        let bytes = learning.steps.iter().map(|step| step.lead.text.len()).sum::<usize>() + tail.text.len();
        let is_column = |step: &&Step| matches!(step.place, Place::Column(_));
        (learning.steps.len() <= STEPS_MAX && bytes <= BYTES_MAX).then(|| Outline {
            tail,
            fitted: 0,
            before: learning.before,
            after: learning.after,
            has_source: learning.has_source,
            columns: learning.steps.iter().filter(is_column).count(),
            steps: learning.steps,
        })
    }

    fn envelope(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let mut names = BTreeSet::new();
        scanner.each_member(|scanner, name| {
            let next = scanner.peek();
            match &*name {
                "before" => self.before = self.image(scanner, Part::Before)?,
                "after" => self.after = self.image(scanner, Part::After)?,
                "source" if next == Some(b'{') => {
                    self.has_source = true;
                    self.part(scanner, Part::Source)?;
                }
                // Another record may have an object there, which means something.
                "source" | "transaction" => self.null(scanner)?,
                "op" => self.value(scanner, plain(&name)?, Place::Op)?,
                _ => self.value(scanner, plain(&name)?, Place::Other)?,
            }
            if names.insert(name) { Ok(()) } else { Err(UNFIT) }
        })
    }

    fn image(&mut self, scanner: &mut Scanner<'a>, part: Part) -> Result<State, Fault> {
        if scanner.peek() == Some(b'{') {
            self.part(scanner, part)?;
            return Ok(State::Row);
        }
        self.null(scanner).map(|()| State::Null)
    }

    /// A null belongs to the outline.
    fn null(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        if scanner.skip()? == "null" { Ok(()) } else { Err(UNFIT) }
    }

    fn part(&mut self, scanner: &mut Scanner<'a>, part: Part) -> Result<(), Fault> {
        self.braces.push(Brace::Opens(scanner.position()));
        let mut names = BTreeSet::new();
        scanner.each_member(|scanner, name| {
            let place = match part {
                Part::Before | Part::After => Place::Column(part),
                Part::Source => Place::Source(Field::of(&name)),
            };
            self.value(scanner, plain(&name)?, place)?;
            if names.insert(name) { Ok(()) } else { Err(UNFIT) }
        })?;
        if names.is_empty() {
            return Err(UNFIT);
        }
        self.braces.push(Brace::Closes(part, scanner.position() - 1));
        Ok(())
    }

    fn value(&mut self, scanner: &mut Scanner<'a>, name: &'a str, place: Place) -> Result<(), Fault> {
        scanner.peek();
        let start = scanner.position();
        let name_at = name.as_ptr().addr() - self.text.as_ptr().addr() - self.at;
        let lead = self.lead(start)?;
        let token = scanner.skip()?;
        let may_be_constant =
            matches!(place, Place::Source(_) | Place::Other) && token.len() <= CONSTANT_BYTES_MAX;
        self.steps.push(Step {
            lead,
            name: name_at..name_at + name.len(),
            place,
            first: if may_be_constant { token.into() } else { Box::default() },
            varies: !may_be_constant,
        });
        self.at = scanner.position();
        Ok(())
    }

    /// What lies between the last value and that byte.
    fn lead(&mut self, end: usize) -> Result<Lead, Fault> {
        let begin = self.at;
        let braces = std::mem::take(&mut self.braces).into_iter().map(|brace| match brace {
            Brace::Opens(byte) => Brace::Opens(byte - begin),
            Brace::Closes(part, byte) => Brace::Closes(part, byte - begin),
        });
        let text = self.text.get(begin..end).ok_or(UNFIT)?.to_owned();
        Ok(Lead { text, braces: braces.collect(), constants: Vec::new() })
    }
}

/// Of everything that a topic's decoder reads again and again.
#[derive(Debug, Default)]
pub(super) struct TopicOutlines {
    /// The record key.
    pub(super) key: Outlines,
    /// The envelope.
    pub(super) envelope: Outlines,
    /// The row, where there is no envelope.
    pub(super) row: Outlines,
}

#[cfg(test)]
mod tests;
