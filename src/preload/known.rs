//! What the entity's topics tell of its rows: how change events of the same table look.
//!
//! A file knows neither which columns identify a row, nor its table's full name, nor whether the source has positions;
//! and its types are a warehouse's. The newest change events of the entity's topics tell all of it, so that a row of the
//! export gives the keys, the guard and the values that a change event would. Where there are none, the settings tell
//! what they can, and keys that may be secondary go through the guard.

use std::sync::Arc;
use std::time::Duration;

use crate::change::{Cell, Change, Connector, Op, Row, TableName};
use crate::entity::{Absent, Entity};
use crate::export::{Form, Seen, Shape};
use crate::pipeline::Pipeline;
use crate::record::{AsRecord as _, Record};
use crate::settings::KafkaSettings;
use crate::source::kafka::SourceError;
use crate::source::kafka::reader::{From, Polled, TopicReader};
use crate::types::Kind;
use crate::version::Version;

/// Records of each partition that are looked at: enough to meet a row that is whole and a value in most columns.
const TAIL: i64 = 200;
/// Rows that are looked at in all.
const ROWS_MAX: usize = 5_000;
/// Columns that are kept of a row.
const COLUMNS_MAX: usize = 4_096;

/// Tells a pipeline the registry's schemas that a record needs; the error is the registry's, in words.
pub type Supply = Arc<dyn Fn(&mut Pipeline, &Record<'_>) -> Result<(), String> + Send + Sync>;

/// Makes pipelines over these entities that know the registry.
pub type Pipelines = Arc<dyn Fn(Arc<[Entity]>) -> Pipeline + Send + Sync>;

/// What is known of the entity's rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) table: Option<TableName<'static>>,
    /// A topic of the entity's: what an identity is made of where no table is told.
    pub(super) topic: String,
    /// The columns of the row's key; `None` where nothing tells them.
    pub(super) key_columns: Option<Vec<String>>,
    /// True where change events carry positions, so that secondary keys go through the guard.
    pub(super) positioned: bool,
    pub(super) shape: Shape,
    /// True where change events told it.
    pub(super) from_topics: bool,
}

impl Known {
    /// By the settings alone.
    pub(super) fn of_settings(entity: &Entity, topic: &str) -> Known {
        let declared = entity.columns.iter();
        let columns = declared
            .map(|(name, kind)| Seen { name: name.clone(), kind: kind.clone(), form: Form::Text })
            .collect();
        Known {
            table: None,
            topic: topic.to_owned(),
            key_columns: entity.key_columns.clone(),
            positioned: true,
            shape: Shape { columns, whole: false, absent_is_null: entity.rules.absent == Absent::Null },
            from_topics: false,
        }
    }

    /// The same, and what the newest records of these topics tell. Blocks for about `within`, several times.
    pub(super) fn learn(
        entity: &Entity,
        kafka: &KafkaSettings,
        topics: &[String],
        pipeline: &mut Pipeline,
        supply: &Supply,
        within: Duration,
    ) -> Result<Known, SourceError> {
        let mut reader = TopicReader::open(kafka, topics, From::Tail(TAIL), within)?;
        let topic = reader.parts().first().map_or("", |part| part.name.topic.as_str());
        let mut known = Known::of_settings(entity, topic);
        let ends: Vec<_> = reader.parts().iter().map(|part| part.end).collect();
        let mut rows = RowsSeen::default();
        let clock = crate::clock::SystemClock::new();
        while !reader.has_passed(&ends) && rows.count < ROWS_MAX && clock.now().monotonic < within {
            if let Polled::Record(record) = reader.poll(Duration::from_millis(100)) {
                let record = record.as_record();
                // What the registry does not tell now, the follower will say.
                if supply(pipeline, &record).is_ok() {
                    let _ = pipeline.look(&record, &mut |_, change| rows.add(change));
                }
            }
        }
        rows.tell(&mut known, entity);
        Ok(known)
    }

    /// The change that a row of the export is. `own_key`: the row's key where its source tells one.
    ///
    /// # Errors
    /// A column of the row's key has no value: its name, and in which state it is.
    pub(super) fn change<'a>(
        &'a self,
        row: Row<'a>,
        own_key: Option<Row<'a>>,
        commit_ms: Option<i64>,
    ) -> Result<Change<'a>, String> {
        let mut key = own_key;
        if let Some(names) = &self.key_columns {
            let mut columns = Vec::with_capacity(names.len());
            for name in names {
                let same = |found: &str| found == name;
                let column = row.columns.iter().find(|column| same(&column.name));
                match column.map(|column| column.cell) {
                    Some(Cell::Present(_)) => columns.extend(column.cloned()),
                    Some(Cell::Null) => return Err(format!("the key column {name:?} is null")),
                    Some(Cell::Absent | Cell::Unavailable) | None => {
                        return Err(format!("there is no key column {name:?}"));
                    }
                }
            }
            key = Some(Row { columns, declared: row.declared, text: None });
        }
        Ok(Change {
            op: Op::Read,
            tombstone: false,
            table: self.table.clone(),
            key,
            before: None,
            belief: crate::change::Belief::None,
            after: Some(row),
            source: None,
            commit_ms,
            // Older than any: what a lane has written stays.
            version: self.positioned.then_some(Version::NONE),
            connector: Connector::Other,
            routing: crate::change::Routing::Row,
        })
    }
}

/// Rows of change events, as far as they are looked at.
#[derive(Debug, Default)]
struct RowsSeen {
    count: usize,
    /// The columns of the newest row, and whether all rows had the same.
    columns: Vec<Seen>,
    differ: bool,
    table: Option<TableName<'static>>,
    keys: Option<Vec<String>>,
    positioned: bool,
}

impl RowsSeen {
    fn add(&mut self, change: &Change<'_>) {
        let Some(after) = &change.after else { return };
        if after.columns.is_empty() || after.columns.len() > COLUMNS_MAX {
            return;
        }
        let first = self.count == 0;
        self.count += 1;
        self.positioned |= change.version.is_some() || change.connector == Connector::Postgres;
        if let Some(key) = &change.key {
            self.keys = Some(key.columns.iter().map(|column| column.name.clone().into_owned()).collect());
        }
        if let Some(table) = &change.table {
            self.table = Some(owned(table));
        }
        let known = |name: &str| self.columns.iter().any(|seen| seen.name == name);
        self.differ |= !first
            && (after.columns.len() != self.columns.len()
                || !after.columns.iter().all(|column| known(&column.name)));
        let former = std::mem::take(&mut self.columns);
        self.columns = after.cells().map(|(name, cell)| seen(name, cell, &former)).collect();
    }

    fn tell(self, known: &mut Known, entity: &Entity) {
        if self.count == 0 {
            return;
        }
        known.from_topics = true;
        known.table = self.table;
        known.positioned = self.positioned;
        if known.key_columns.is_none() {
            known.key_columns = self.keys.filter(|keys| !keys.is_empty());
        }
        // Documents without a schema, and events that leave columns out, tell types and no shape.
        known.shape.whole = !self.differ && entity.rules.absent == Absent::Omit;
        for seen in self.columns {
            match known.shape.columns.iter_mut().find(|column| column.name == seen.name) {
                Some(column) if column.kind == Kind::Untyped => *column = seen,
                Some(_) => {}
                None => known.shape.columns.push(seen),
            }
        }
    }
}

/// A column of a newer row: what it does not tell, an older one may have told.
fn seen(name: &str, cell: Cell<'_>, former: &[Seen]) -> Seen {
    match cell {
        Cell::Present(typed) => {
            Seen { name: name.to_owned(), kind: typed.kind.clone(), form: Form::of(typed.raw) }
        }
        Cell::Null | Cell::Absent | Cell::Unavailable => {
            let older = former.iter().find(|seen| seen.name == name).cloned();
            older.unwrap_or_else(|| Seen { name: name.to_owned(), kind: Kind::Untyped, form: Form::Text })
        }
    }
}

fn owned(table: &TableName<'_>) -> TableName<'static> {
    let text = |text: &std::borrow::Cow<'_, str>| text.clone().into_owned().into();
    TableName {
        database: table.database.as_ref().map(text),
        schema: table.schema.as_ref().map(text),
        table: text(&table.table),
    }
}
