//! Debezium's change envelope: `before`, `after`, `source`, `op`.
//!
//! Shapes and op letters: <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events>.
//! A changed primary key needs no care here: the connector sends it as a delete of the old key, its
//! tombstone and a create of the new one. Envelope times (`ts_ms`) tell when the connector worked, not when
//! the source committed, and are not read.

use super::connect::Document;
use super::documents;
use super::json::{Fault, Scanner, unescape};
use super::key::Key;
use super::outline::{Found, Outlines, State, Whole};
use super::position::Source;
use super::rows;
use super::vitess::Transaction;
use super::yugabyte;
use super::{Decoded, Ignored};
use crate::change::{Change, Op, Routing, Row};
use crate::error::DecodeError;

/// An envelope's members, before it is known whether it is one.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    /// A JSON token.
    pub(super) op: Option<&'a str>,
    pub(super) before: Image<'a>,
    pub(super) after: Image<'a>,
    pub(super) source: Option<Source<'a>>,
    pub(super) transaction: Transaction<'a>,
}

/// A row image.
#[derive(Debug, Default)]
pub(super) enum Image<'a> {
    /// No such member.
    #[default]
    Missing,
    Null,
    Row(Row<'a>),
    /// A text: MongoDB's documents.
    Text(&'a str),
    /// Anything else.
    Other,
}

impl<'a> Envelope<'a> {
    /// Reads an object as an envelope: rows into columns, other members unread.
    pub(super) fn scan(document: Document<'a>, outlines: &mut Outlines) -> Result<Envelope<'a>, Fault> {
        if let Some(envelope) = Envelope::by_outline(document, outlines) {
            return Ok(envelope);
        }
        let envelope = Envelope::read(document)?;
        outlines.learn(document, Whole::Envelope);
        Ok(envelope)
    }

    /// The same, where an outline fits.
    pub(super) fn by_outline(document: Document<'a>, outlines: &mut Outlines) -> Option<Envelope<'a>> {
        let Found { op, before, after, source } = outlines.read(document, Whole::Envelope)?;
        let image = |(state, row)| match state {
            State::Missing => Image::Missing,
            State::Null => Image::Null,
            State::Row => Image::Row(row),
        };
        let (before, after, transaction) = (image(before), image(after), Transaction::default());
        Some(Envelope { op, before, after, source, transaction })
    }

    /// The same, member by member.
    pub(super) fn read(document: Document<'a>) -> Result<Envelope<'a>, Fault> {
        let mut envelope = Envelope::default();
        let mut scanner = document.scanner();
        scanner.each_member(|scanner, name| {
            match &*name {
                "before" => envelope.before = Image::scan(scanner, document, Side::Before)?,
                "after" => envelope.after = Image::scan(scanner, document, Side::After)?,
                "op" => envelope.op = Some(scanner.skip()?),
                "source" if scanner.peek() == Some(b'{') => {
                    envelope.source = Some(Source::scan(scanner)?);
                }
                "transaction" if scanner.peek() == Some(b'{') => {
                    envelope.transaction = Transaction::scan(scanner)?;
                }
                _ => {
                    scanner.skip()?;
                }
            }
            Ok(())
        })?;
        scanner.finish()?;
        Ok(envelope)
    }

    /// True where it is an envelope: a text `op`, and a source block, a row image, or two null images. A row
    /// may well own columns of these names, but hardly objects, which no column of a database is.
    pub(super) fn is_one(&self) -> bool {
        self.op.is_some_and(|op| op.starts_with('"'))
            && (self.source.is_some()
                || matches!(
                    (&self.before, &self.after),
                    (Image::Row(_), _) | (_, Image::Row(_)) | (Image::Null, Image::Null)
                ))
    }

    /// True where its rows are MongoDB's documents.
    pub(super) fn is_mongodb(&self) -> bool {
        let objects = matches!((&self.before, &self.after), (Image::Row(_), _) | (_, Image::Row(_)));
        !objects && self.source.as_ref().is_some_and(Source::is_mongodb)
    }

    /// True for a logical message.
    pub(super) fn is_message(&self) -> bool {
        self.op.is_some_and(|op| op.eq_ignore_ascii_case("\"m\"")) && self.source.is_some()
    }

    /// The same with an op and a source that were told beside it.
    pub(super) fn attributed(self, op: Option<&'a str>, source: Source<'a>) -> Envelope<'a> {
        Envelope { op, source: Some(source), ..self }
    }

    /// The change. MongoDB's documents, which are texts, are unescaped into `texts`.
    pub(super) fn decode(self, key: Key<'a>, texts: &'a mut Vec<String>) -> Result<Decoded<'a>, DecodeError> {
        let letter = self.op.and_then(unescape).unwrap_or_default();
        let Some(op) = op(&letter)? else { return Ok(Decoded::Ignored(Ignored::Message)) };
        if self.is_mongodb() {
            return self.decode_documents(op, &key, texts);
        }
        let (before, after, key) = match op {
            Op::Create | Op::Update | Op::Read => {
                let after = self.after.into_row("after", op)?.ok_or_else(|| no_after(op))?;
                (self.before.into_row("before", op)?, Some(after), key.into_row())
            }
            Op::Delete => (self.before.into_row("before", op)?, None, key.into_row()),
            Op::Truncate => (None, None, None),
        };
        let source = self.source.unwrap_or_default().within(self.transaction);
        Ok(Decoded::one(Change {
            op,
            tombstone: false,
            table: source.table(),
            key,
            before,
            belief: source.belief(),
            after,
            source: source.raw,
            commit_ms: source.commit_ms(),
            version: source.version(),
            connector: source.connector(),
            routing: Routing::RecordKey,
        }))
    }

    /// An update may come without its document: not asked for, or gone by the time of the lookup. Then what
    /// is cached of it is deleted, for a miss is right, and a part of a document is not.
    fn decode_documents(
        self,
        op: Op,
        key: &Key<'a>,
        texts: &'a mut Vec<String>,
    ) -> Result<Decoded<'a>, DecodeError> {
        let documents = documents::read(key, self.before.as_text(), self.after.as_text(), texts)?;
        let source = self.source.unwrap_or_default().within(self.transaction);
        let after = documents.after.filter(|_| !matches!(op, Op::Delete | Op::Truncate));
        let op = match op {
            Op::Update if after.is_none() => Op::Delete,
            Op::Create | Op::Read if after.is_none() => return Err(no_after(op)),
            op => op,
        };
        Ok(Decoded::one(Change {
            op,
            tombstone: false,
            table: source.table(),
            key: documents.key,
            before: documents.before,
            belief: source.belief(),
            after,
            source: source.raw,
            commit_ms: source.commit_ms(),
            version: source.version(),
            connector: source.connector(),
            routing: Routing::RecordKey,
        }))
    }
}

#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

impl<'a> Image<'a> {
    fn scan(scanner: &mut Scanner<'a>, document: Document<'a>, side: Side) -> Result<Image<'a>, Fault> {
        let fields = document.plan.map(|plan| match side {
            Side::Before => &plan.before,
            Side::After => &plan.after,
        });
        Ok(match scanner.peek() {
            Some(b'{') => Image::Row(rows::scan(scanner, fields)?),
            _ => match scanner.skip()? {
                "null" => Image::Null,
                token if token.starts_with('"') => Image::Text(token),
                _ => Image::Other,
            },
        })
    }

    fn into_row(self, name: &str, op: Op) -> Result<Option<Row<'a>>, DecodeError> {
        match self {
            Image::Row(row) => Ok(Some(yugabyte::unwrap(row))),
            Image::Missing | Image::Null => Ok(None),
            Image::Text(_) | Image::Other => {
                Err(DecodeError::new("envelope", format!("the {name} of op {:?} is no object", op.letter())))
            }
        }
    }

    /// The text of a document; rows and nulls are none.
    fn as_text(&self) -> Option<&'a str> {
        match self {
            Image::Text(token) => Some(token),
            Image::Missing | Image::Null | Image::Row(_) | Image::Other => None,
        }
    }
}

/// The op of a letter; `None` for a logical message. `Envelope.Operation.forCode` ignores case, too.
pub(super) fn op(letter: &str) -> Result<Option<Op>, DecodeError> {
    Ok(Some(match letter {
        "c" | "C" => Op::Create,
        "u" | "U" => Op::Update,
        "d" | "D" => Op::Delete,
        "r" | "R" => Op::Read,
        "t" | "T" => Op::Truncate,
        "m" | "M" => return Ok(None),
        other => return Err(unknown_op(other)),
    }))
}

fn no_after(op: Op) -> DecodeError {
    DecodeError::new("envelope", format!("op {:?} without an after row", op.letter()))
}

/// Names the letter, and nothing longer: what stands there may be anything.
fn unknown_op(op: &str) -> DecodeError {
    let known = "known are c, u, d, r, t and m";
    let short = op.len() <= 4 && op.bytes().all(|byte| byte.is_ascii_alphanumeric());
    DecodeError::new(
        "op",
        if short {
            format!("unknown op {op:?}; {known}")
        } else {
            format!("unknown op, a text of {} bytes; {known}", op.len())
        },
    )
}
