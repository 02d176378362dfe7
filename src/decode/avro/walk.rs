//! One flat walk over a datum: its columns as borrowed cells, in the schema's order.
//!
//! Work is bounded by the datum's size, whatever the schema: items without bytes (nulls, empty records) are
//! counted, for a block may announce 2^63 of them.

use std::ops::Range;

use super::super::datum::unavailable::{is_bytes, is_text};
use super::super::datum::{Columns, Fault, Image, Member, Members, Named, Pending, Scratch, widened};
use super::super::position::{Source, Token};
use super::plan::Plan;
use super::read::Reader;
use super::schema::{Field, Form, NodeId};
use crate::change::Cell;
use crate::types::{Raw, Typed};

/// Values that may be read beside those that the datum has bytes for. A record of some thousand columns has as
/// many unions; no datum is known to hold more of what has no bytes.
const FREE_STEPS: usize = 65_536;
/// Values to a byte: a union and its branch, and the record that they stand in.
const STEPS_PER_BYTE: usize = 4;
/// Records, arrays and maps in each other: the bound that rendering has.
pub(super) const DEPTH_MAX: usize = 64;
/// Unions directly in each other, which the specification forbids.
const UNIONS_MAX: usize = 4;

/// Reads one datum.
#[derive(Debug)]
pub(super) struct Walk<'a, 's> {
    pub(super) plan: &'a Plan,
    pub(super) reader: Reader<'a>,
    pub(super) json: &'s mut String,
    pub(super) of_source: &'s mut Named,
    steps: usize,
}

impl<'a, 's> Walk<'a, 's> {
    pub(super) fn new(plan: &'a Plan, datum: &'a [u8], scratch: &'s mut Scratch) -> Walk<'a, 's> {
        scratch.empty();
        let Scratch { json, source: of_source, .. } = scratch;
        let steps = datum.len().saturating_mul(STEPS_PER_BYTE).saturating_add(FREE_STEPS);
        Walk { plan, reader: Reader::new(datum), json, of_source, steps }
    }

    /// Nothing may follow.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        self.reader.finish()
    }

    /// Counts one value.
    pub(super) fn step(&mut self) -> Result<(), Fault> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| self.reader.fault("more values than bytes"))?;
        Ok(())
    }

    /// The branch that is there, through unions.
    pub(super) fn resolve(&mut self, mut node: NodeId) -> Result<(NodeId, &'a Form), Fault> {
        for _ in 0..=UNIONS_MAX {
            self.step()?;
            let form = self.plan.form(node);
            let Form::Union(branches) = form else { return Ok((node, form)) };
            let fault = self.reader.fault("expected the index of a branch of the union");
            node = *branches.get(self.reader.index()?).ok_or(fault)?;
        }
        Err(self.reader.fault("unions in each other"))
    }

    /// The columns of a record; `None` for null.
    pub(super) fn row(&mut self, node: NodeId) -> Result<Option<Columns<'a>>, Fault> {
        match self.resolve(node)?.1 {
            Form::Null => Ok(None),
            Form::Record(fields) => {
                let mut columns = Columns::of(fields.len());
                for field in fields {
                    columns.push(&field.name, self.column(field.is_added, field.node)?);
                }
                Ok(Some(columns))
            }
            _ => Err(self.reader.fault("expected a record")),
        }
    }

    /// The members of an envelope; `None` for null.
    pub(super) fn envelope(
        &mut self,
        members: &[Member],
        skips_source_text: bool,
    ) -> Result<Option<Members<'a>>, Fault> {
        let fields = match self.resolve(self.plan.root())?.1 {
            Form::Null => return Ok(None),
            Form::Record(fields) => fields,
            _ => return Err(self.reader.fault("expected a record")),
        };
        let mut found = Members::default();
        for (field, member) in fields.iter().zip(members) {
            match member {
                Member::Before => found.before = self.image(field.node)?,
                Member::After => found.after = self.image(field.node)?,
                Member::Op => found.op = Some(self.written(field.node)?),
                Member::Source => self.source(field.node, skips_source_text, &mut found)?,
                Member::Transaction => found.transaction = Some(self.written(field.node)?),
                Member::Unread => self.pass_over(field.node)?,
            }
        }
        Ok(Some(found))
    }

    fn image(&mut self, node: NodeId) -> Result<Image<'a>, Fault> {
        let (node, form) = self.resolve(node)?;
        Ok(match form {
            Form::Null => Image::Null,
            Form::Record(_) => self.row(node)?.map_or(Image::Null, Image::Row),
            _ => {
                self.value(node, form, 0)?;
                Image::Other
            }
        })
    }

    /// Reads the source block into the members of the envelope.
    fn source(&mut self, node: NodeId, skips_text: bool, found: &mut Members<'a>) -> Result<(), Fault> {
        let start = self.json.len();
        let (node, form) = self.resolve(node)?;
        let Form::Record(fields) = form else { return self.value(node, form, 0) };
        if skips_text {
            found.source = Some(self.meaningful(fields)?);
        } else {
            self.members(fields)?;
            found.source = Some(Source::default());
            found.source_text = Some(start..self.json.len());
        }
        Ok(())
    }

    /// Those members of a source block that mean something.
    fn meaningful(&mut self, fields: &'a [Field]) -> Result<Source<'a>, Fault> {
        let mut source = Source::default();
        for field in fields {
            if !field.of_source.means_something() {
                self.pass_over(field.node)?;
                continue;
            }
            let (node, form) = self.resolve(field.node)?;
            let token = match form {
                Form::Null => Token::NULL,
                Form::Int => Token::Int(self.reader.int()?),
                Form::Long => Token::Int(self.reader.long()?),
                Form::Text => Token::Text(self.reader.text()?),
                Form::Enum(symbols) => Token::Text(self.symbol(symbols)?),
                _ => {
                    let start = self.json.len();
                    self.value(node, form, 1)?;
                    self.of_source.push((field.of_source, start..self.json.len()));
                    continue;
                }
            };
            source.put(field.of_source, token);
        }
        Ok(source)
    }

    /// Passes over a value, which must be well-formed all the same.
    pub(super) fn pass_over(&mut self, node: NodeId) -> Result<(), Fault> {
        let (node, form) = self.resolve(node)?;
        match form {
            Form::Null => {}
            Form::Int => drop(self.reader.int()?),
            Form::Long => drop(self.reader.long()?),
            Form::Text => drop(self.reader.text()?),
            _ => {
                // Written and taken back.
                let start = self.json.len();
                self.value(node, form, 0)?;
                self.json.truncate(start);
            }
        }
        Ok(())
    }

    fn written(&mut self, node: NodeId) -> Result<Range<usize>, Fault> {
        let start = self.json.len();
        let (node, form) = self.resolve(node)?;
        self.value(node, form, 0)?;
        Ok(start..self.json.len())
    }

    fn column(&mut self, is_added: bool, node: NodeId) -> Result<Pending<'a>, Fault> {
        let (node, form) = self.resolve(node)?;
        let kind = self.plan.kind(node);
        let present = |raw: Raw<'a>| Pending::Ready(Cell::Present(Typed { raw, kind }));
        if is_added || self.plan.is_duration(node) {
            let start = self.json.len();
            self.value(node, form, 0)?;
            return Ok(Pending::Json(start..self.json.len(), kind));
        }
        Ok(match form {
            Form::Null => Pending::Ready(Cell::Null),
            Form::Bool => present(Raw::Bool(self.reader.boolean()?)),
            Form::Int => present(Raw::Int(self.reader.int()?)),
            Form::Long => present(Raw::Int(self.reader.long()?)),
            Form::Float => present(Raw::Double(widened(self.reader.float()?))),
            Form::Double => present(Raw::Double(self.reader.double()?)),
            Form::Text => match self.reader.text()? {
                text if is_text(text, kind) => Pending::Ready(Cell::Unavailable),
                text => present(Raw::Text(text)),
            },
            Form::Bytes => match self.reader.bytes()? {
                bytes if is_bytes(bytes, kind) => Pending::Ready(Cell::Unavailable),
                bytes => present(Raw::Bytes(bytes)),
            },
            Form::Fixed(length) => present(Raw::Bytes(self.reader.fixed(*length)?)),
            Form::Enum(symbols) => present(Raw::Text(self.symbol(symbols)?)),
            Form::Array(_) | Form::Map(_) | Form::Record(_) | Form::Union(_) => {
                let start = self.json.len();
                self.value(node, form, 0)?;
                Pending::Json(start..self.json.len(), kind)
            }
        })
    }

    pub(super) fn symbol(&mut self, symbols: &'a [String]) -> Result<&'a str, Fault> {
        let fault = self.reader.fault("expected the index of a symbol of the enum");
        symbols.get(self.reader.index()?).map(String::as_str).ok_or(fault)
    }
}
