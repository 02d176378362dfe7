//! What a condition sees: rows and the source block as values that are converted when asked for.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, Type,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::value::RawValue;

use crate::change::{Cell, Row};
use crate::entity::handler::RowImage;
use crate::record::Record;
use crate::types::{self, RenderStyle};

/// The function that an error about a column names.
pub(super) const COLUMN: &str = "@column";

static ROW: Type = Type::new_unspecified_type("row");

/// The variables of a condition.
pub(super) struct Scope<'r> {
    image: &'r RowImage<'r>,
}

impl<'r> Scope<'r> {
    pub(super) fn new(image: &'r RowImage<'r>) -> Scope<'r> {
        Scope { image }
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let change = self.image.change;
        let row = |row: Option<&'b Row<'b>>| match row {
            Some(row) => CowVal::owned(Fields::Row(row, self.image.style)),
            None => CowVal::owned(CelNull),
        };
        match variable {
            "after" => Some(row(change.after.as_ref())),
            "before" => Some(row(change.before.as_ref())),
            "op" => Some(CowVal::owned(CelString::from(change.op.letter()))),
            "source" => Some(CowVal::owned(Fields::Source(self.image.record, change.source))),
            _ => None,
        }
    }
}

/// A value with named fields.
#[derive(Clone, Copy)]
enum Fields<'r> {
    /// The columns of a row.
    Row(&'r Row<'r>, RenderStyle),
    /// The record's position and the fields of the source block.
    Source(&'r Record<'r>, Option<&'r str>),
}

impl fmt::Debug for Fields<'_> {
    /// Row values never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fields::Row(..) => "Row",
            Fields::Source(..) => "Source",
        })
    }
}

impl Val for Fields<'_> {
    fn get_type(&self) -> &Type {
        &ROW
    }

    fn cel_type() -> &'static Type {
        &ROW
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Fields<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(name) = index.downcast_ref::<CelString>() else {
            return Err(ExecutionError::no_such_overload("_[_]", vec!["row".into(), "no text".into()]));
        };
        self.field(name.inner()).map(CowVal::Owned)
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Fields<'_> {
    fn field<'v>(&self, name: &str) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        match self {
            Fields::Row(row, style) => match row.cell(name) {
                Cell::Present(typed) => {
                    let mut json = Vec::new();
                    types::render_json(typed, *style, &mut json).map_err(|_| unreadable(name))?;
                    std::str::from_utf8(&json).ok().and_then(from_json).ok_or_else(|| unreadable(name))
                }
                Cell::Null => Ok(Box::new(CelNull)),
                Cell::Absent => Err(ExecutionError::no_such_key(name)),
                Cell::Unavailable => Err(unreadable(name)),
            },
            Fields::Source(record, block) => match name {
                "topic" => Ok(Box::new(CelString::from(record.topic.to_owned()))),
                "partition" => Ok(Box::new(CelInt::from(i64::from(record.partition)))),
                "offset" => Ok(Box::new(CelInt::from(record.offset))),
                "timestamp_ms" => Ok(match record.timestamp_ms {
                    Some(ms) => Box::new(CelInt::from(ms)),
                    None => Box::new(CelNull),
                }),
                _ => block
                    .and_then(|block| serde_json::from_str::<BTreeMap<String, &RawValue>>(block).ok())
                    .and_then(|fields| fields.get(name).and_then(|token| from_json(token.get())))
                    .ok_or_else(|| ExecutionError::no_such_key(name)),
            },
        }
    }
}

fn unreadable(column: &str) -> ExecutionError {
    ExecutionError::function_error(COLUMN, column)
}

/// A JSON text as a value; `None` where it is none, or a number that no type of CEL holds exactly enough.
fn from_json<'v>(json: &str) -> Option<Box<dyn Val + 'v>> {
    match json.as_bytes().first()? {
        b'"' => types::unescape(json).ok().map(|text| Box::new(CelString::from(text.into_owned())) as _),
        b'-' | b'0'..=b'9' => number(json),
        _ => from_value(&serde_json::from_str(json).ok()?),
    }
}

fn from_value<'v>(value: &serde_json::Value) -> Option<Box<dyn Val + 'v>> {
    Some(match value {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        serde_json::Value::Number(digits) => return number(&digits.to_string()),
        serde_json::Value::String(text) => Box::new(CelString::from(text.clone())),
        serde_json::Value::Array(items) => {
            Box::new(CelList::from(items.iter().map(from_value).collect::<Option<Vec<_>>>()?))
        }
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                Some((CelMapKey::from(cel::objects::Key::from(name.clone())), from_value(value)?))
            });
            Box::new(CelMap::from(fields.collect::<Option<HashMap<_, _>>>()?))
        }
    })
}

/// Integers never go through `f64`: one over 64 bits is no value.
fn number<'v>(token: &str) -> Option<Box<dyn Val + 'v>> {
    if let Ok(int) = token.parse::<i64>() {
        return Some(Box::new(CelInt::from(int)));
    }
    if let Ok(uint) = token.parse::<u64>() {
        return Some(Box::new(CelUInt::from(uint)));
    }
    if token.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        return None;
    }
    token.parse::<f64>().ok().map(|double| Box::new(CelDouble::from(double)) as _)
}
