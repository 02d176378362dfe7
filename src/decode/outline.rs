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

use super::connect::{Document, Fields};
use super::json::{Fault, Scanner};
use super::position::{Field, Source};
use super::rows;
use crate::change::{Column, Row};
use crate::types::Kind;

/// Outlines that are kept of a topic's records: creates, updates, deletes and snapshots of a table have one each.
const OUTLINES_MAX: usize = 6;
/// Values of an object, and bytes between them, over which it is not worth a guess.
const STEPS_MAX: usize = 1024;
const BYTES_MAX: usize = 64 << 10;
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

/// What lies before a value, from the end of the one before, and where the value goes.
#[derive(Debug)]
struct Step {
    lead: Box<str>,
    /// Where the value's name lies in it.
    name: Range<usize>,
    /// A part that ends in it, with its closing brace there.
    closes: Option<(Part, usize)>,
    /// A part that begins in it, with its opening brace there.
    opens: Option<usize>,
    place: Place,
}

/// One outline.
#[derive(Debug)]
struct Outline {
    steps: Vec<Step>,
    tail: Box<str>,
    tail_closes: Option<(Part, usize)>,
    before: State,
    after: State,
    has_source: bool,
    columns: usize,
}

/// What an envelope has for a row image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
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
        let last = self.known.get(self.last)?;
        if let Some(found) = last.read(document, whole) {
            self.misses = 0;
            return Some(found);
        }
        for (index, outline) in self.known.iter().enumerate().filter(|(index, _)| *index != self.last) {
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
    fn read<'a>(&self, document: Document<'a>, whole: Whole) -> Option<Found<'a>> {
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
        let mut scanner = document.scanner();
        scanner.peek();
        let mut opened = 0;
        for step in &self.steps {
            let begin = scanner.position();
            if !scanner.pass(&step.lead) {
                return None;
            }
            if let Some((part, at)) = step.closes {
                found.take_text(part, text.get(opened..=begin + at)?);
            }
            if let Some(at) = step.opens {
                opened = begin + at;
            }
            let token = scanner.skip_inside().ok()?;
            match step.place {
                Place::Column(part) => {
                    let name = text.get(begin + step.name.start..begin + step.name.end)?;
                    let (row, fields) = match part {
                        Part::Before => (&mut found.before.1, before_fields),
                        Part::After | Part::Source => (&mut found.after.1, after_fields),
                    };
                    row.columns.push(column(name, token, fields, row.columns.len()));
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
        let begin = scanner.position();
        if !scanner.pass(&self.tail) {
            return None;
        }
        if let Some((part, at)) = self.tail_closes {
            found.take_text(part, text.get(opened..=begin + at)?);
        }
        scanner.finish().ok()?;
        Some(found)
    }
}

impl<'a> Found<'a> {
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

fn column<'a>(name: &'a str, token: &'a str, fields: Option<&'a Fields>, index: usize) -> Column<'a> {
    let kind = fields.map_or(&Kind::Untyped, |fields| fields.kind(index, name));
    Column { name: Cow::Borrowed(name), cell: rows::cell(token, kind) }
}

/// An outline that is being made.
struct Learning<'a> {
    text: &'a str,
    /// Where the last value ended.
    at: usize,
    steps: Vec<Step>,
    closes: Option<(Part, usize)>,
    opens: Option<usize>,
    before: State,
    after: State,
    has_source: bool,
}

/// An object that cannot be told by an outline: it has a name twice, or one with an escape, or an object or a text
/// where its place decides what it means.
const UNFIT: Fault = Fault { at: 0, what: "no outline" };

impl<'a> Learning<'a> {
    fn of(document: Document<'a>, whole: Whole) -> Option<Outline> {
        let mut scanner = document.scanner();
        scanner.peek();
        let mut learning = Learning {
            text: document.text(),
            at: scanner.position(),
            steps: Vec::new(),
            closes: None,
            opens: None,
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
        let tail = learning.text.get(learning.at..scanner.position())?;
        let bytes = learning.steps.iter().map(|step| step.lead.len()).sum::<usize>() + tail.len();
        let is_column = |step: &&Step| matches!(step.place, Place::Column(_));
        (learning.steps.len() <= STEPS_MAX && bytes <= BYTES_MAX).then(|| Outline {
            tail: tail.into(),
            tail_closes: learning.closes.map(|(part, brace)| (part, brace - learning.at)),
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
                "op" => self.value(scanner, &name, Place::Op)?,
                _ => self.value(scanner, &name, Place::Other)?,
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
        self.opens = Some(scanner.position());
        let mut names = BTreeSet::new();
        scanner.each_member(|scanner, name| {
            let place = match part {
                Part::Before | Part::After => Place::Column(part),
                Part::Source => Place::Source(Field::of(&name)),
            };
            self.value(scanner, &name, place)?;
            if names.insert(name) { Ok(()) } else { Err(UNFIT) }
        })?;
        if names.is_empty() {
            return Err(UNFIT);
        }
        self.closes = Some((part, scanner.position() - 1));
        Ok(())
    }

    fn value(&mut self, scanner: &mut Scanner<'a>, name: &Cow<'a, str>, place: Place) -> Result<(), Fault> {
        scanner.peek();
        let start = scanner.position();
        let Cow::Borrowed(name) = name else { return Err(UNFIT) };
        let name_at = name.as_ptr().addr() - self.text.as_ptr().addr() - self.at;
        scanner.skip()?;
        self.steps.push(Step {
            lead: self.text.get(self.at..start).ok_or(UNFIT)?.into(),
            name: name_at..name_at + name.len(),
            closes: self.closes.take().map(|(part, brace)| (part, brace - self.at)),
            opens: self.opens.take().map(|brace| brace - self.at),
            place,
        });
        self.at = scanner.position();
        Ok(())
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::debezium::Envelope;

    /// An envelope, often of the same outline as the one before: few names, few shapes, and white space and what no
    /// outline can tell now and then.
    fn envelope() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("null".to_owned()),
            Just("1".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            Just("\"x\\\"é\"".to_owned()),
            Just("{\"a\":[1,{}]}".to_owned()),
            Just("\"__debezium_unavailable_value\"".to_owned()),
        ];
        let object = |names: &'static [&'static str], value: BoxedStrategy<String>| {
            let member =
                move |name: &'static str| value.clone().prop_map(move |value| format!("\"{name}\":{value}"));
            let members: Vec<_> = names.iter().map(|name| member(name)).collect();
            (members, prop_oneof![9 => Just(","), 1 => Just(" , ")])
                .prop_map(|(members, comma)| format!("{{{}}}", members.join(comma)))
        };
        let value = value.boxed();
        let row = || {
            prop_oneof![
                8 => object(&["id", "b"], value.clone()),
                2 => object(&["id", "b", "c"], value.clone()),
                1 => object(&["id", "id"], value.clone()),
                1 => object(&["\\u0069d"], value.clone()),
                1 => Just("{}".to_owned()),
                3 => Just("null".to_owned()),
                1 => value.clone(),
            ]
        };
        let source = prop_oneof![
            8 => object(&["connector", "ts_ms", "lsn", "table"], value.clone()),
            1 => Just("null".to_owned()),
            1 => value.clone(),
        ];
        let transaction = prop_oneof![4 => Just("null"), 1 => Just("{\"epoch\":1,\"rank\":2,\"total_order\":3}"), 1 => Just("7")];
        let op = prop_oneof![4 => Just("\"u\""), 1 => Just("\"c\""), 1 => Just("null")];
        let tail = prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just("x"), 1 => Just(",\"after\":null}")];
        (row(), row(), source, op, transaction, tail).prop_map(|(before, after, source, op, transaction, tail)| {
            format!("{{\"before\":{before},\"after\":{after},\"source\":{source},\"op\":{op},\"ts_ms\":1,\"transaction\":{transaction}}}{tail}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_outline_gives_what_reading_gives_or_nothing(texts in prop::collection::vec(envelope(), 1..12)) {
            let (mut outlines, mut rows) = (Outlines::default(), Outlines::default());
            for text in texts {
                let document = Document::bare(&text);
                let read = Envelope::read(document).map(|envelope| format!("{envelope:?}"));
                let scanned = Envelope::scan(document, &mut outlines).map(|envelope| format!("{envelope:?}"));
                prop_assert_eq!(scanned, read, "{}", text);
                let read = rows::read_document(document).map(|row| format!("{row:?}"));
                let scanned = rows::scan_document(document, &mut rows).map(|row| format!("{row:?}"));
                prop_assert_eq!(scanned, read, "{}", text);
            }
        }
    }

    fn fits(outlines: &mut Outlines, text: &str) -> bool {
        outlines.read(Document::bare(text), Whole::Row).is_some()
    }

    #[test]
    fn records_that_take_turns_each_find_their_outline_and_endless_variety_is_given_up() {
        let mut outlines = Outlines::default();
        let create = |id: usize| format!(r#"{{"id":{id},"a":null}}"#);
        let delete = |id: usize| format!(r#"{{"id":{id}}}"#);
        for text in [create(1), delete(1)] {
            assert!(!fits(&mut outlines, &text));
            outlines.learn(Document::bare(&text), Whole::Row);
        }
        for id in 2..50 {
            assert!(fits(&mut outlines, &create(id)) && fits(&mut outlines, &delete(id)));
        }
        for other in 0..1_000 {
            let text = format!(r#"{{"c{other}":1}}"#);
            assert!(!fits(&mut outlines, &text));
            outlines.learn(Document::bare(&text), Whole::Row);
        }
        assert_eq!(outlines.known.len(), OUTLINES_MAX);
        let mut tried = 0;
        while !fits(&mut outlines, &create(1)) {
            outlines.learn(Document::bare(&create(1)), Whole::Row);
            tried += 1;
        }
        assert!((2..=2 * TRY_EVERY).contains(&tried), "{tried}");
    }

    #[test]
    fn an_object_too_wide_for_an_outline_is_read_as_it_comes() {
        let members: Vec<String> = (0..=STEPS_MAX).map(|index| format!("\"c{index}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        let mut outlines = Outlines::default();
        outlines.learn(Document::bare(&text), Whole::Row);
        assert!(outlines.known.is_empty());
    }
}
