//! The `source` block: which system, which table, when committed, and at which position.
//!
//! Fields are those of Debezium's `SourceInfo` classes, per connector
//! (<https://debezium.io/documentation/reference/stable/connectors/>); flattened rows carry the same under
//! prefixed names, and go through the same [`Source::set`].

use std::borrow::Cow;

use super::json::{Fault, Scanner, unescape};
use super::vitess::Transaction;
use crate::change::{Belief, Connector, TableName};
use crate::version::Version;

/// A member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// As JSON.
    Json(&'a str),
    /// A text of a binary format.
    Text(&'a str),
    /// A whole number of a binary format.
    Int(i64),
}

impl<'a> Token<'a> {
    pub(super) const NULL: Token<'static> = Token::Json("null");

    /// A text as it stands, with its escapes; a number of JSON; nothing of a binary number.
    fn bare(self) -> &'a str {
        match self {
            Token::Json(token) => bare(token),
            Token::Text(text) => text,
            Token::Int(_) => "",
        }
    }

    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Token::Json(token) => unescape(token),
            Token::Text(text) => Some(Cow::Borrowed(text)),
            Token::Int(_) => None,
        }
    }

    /// A number, bare or in quotes.
    fn int(self) -> Option<i64> {
        if let Token::Int(number) = self { Some(number) } else { self.bare().parse().ok() }
    }

    /// The same. Positions over 2^63 arrive as negative longs: the same bits.
    fn bits(self) -> Option<u64> {
        if let Token::Int(number) = self { Some(number.cast_unsigned()) } else { bits(self.bare()) }
    }
}

/// A source block: the fields that mean something here.
#[derive(Debug, Default)]
pub(super) struct Source<'a> {
    /// The whole block's text; `None` where the fields came one by one.
    pub(super) raw: Option<&'a str>,
    connector: Option<Token<'a>>,
    database: Option<Token<'a>>,
    schema: Option<Token<'a>>,
    table: Option<Token<'a>>,
    ts_ms: Option<Token<'a>>,
    snapshot: Option<Token<'a>>,
    sequence: Option<Token<'a>>,
    lsn: Option<Token<'a>>,
    file: Option<Token<'a>>,
    pos: Option<Token<'a>>,
    row: Option<Token<'a>>,
    commit_lsn: Option<Token<'a>>,
    change_lsn: Option<Token<'a>>,
    event_serial_no: Option<Token<'a>>,
    scn: Option<Token<'a>>,
    commit_scn: Option<Token<'a>>,
    redo_thread: Option<Token<'a>>,
    rs_id: Option<Token<'a>>,
    ssn: Option<Token<'a>>,
    ord: Option<Token<'a>>,
    commit_ts: Option<Token<'a>>,
    clock: Option<Token<'a>>,
    shard: Option<Token<'a>>,
    pub(super) transaction: Transaction<'a>,
}

/// What a member of a source block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Field {
    Connector,
    Database,
    Schema,
    Table,
    TsMs,
    Snapshot,
    Sequence,
    Lsn,
    File,
    Pos,
    Row,
    CommitLsn,
    ChangeLsn,
    EventSerialNo,
    Scn,
    CommitScn,
    RedoThread,
    RsId,
    Ssn,
    Ord,
    Shard,
    CommitTs,
    Clock,
    /// Some connector's, and of no meaning here.
    Known,
    #[default]
    Unknown,
}

impl Field {
    /// True where what it holds is read.
    pub(super) fn means_something(self) -> bool {
        !matches!(self, Field::Known | Field::Unknown)
    }

    pub(super) fn of(name: &str) -> Field {
        match name {
            "connector" => Field::Connector,
            "db" => Field::Database,
            "schema" => Field::Schema,
            // MongoDB names a collection and no table.
            "table" | "collection" => Field::Table,
            "ts_ms" => Field::TsMs,
            "snapshot" => Field::Snapshot,
            "sequence" => Field::Sequence,
            "lsn" => Field::Lsn,
            "file" => Field::File,
            "pos" => Field::Pos,
            "row" => Field::Row,
            "commit_lsn" => Field::CommitLsn,
            "change_lsn" => Field::ChangeLsn,
            "event_serial_no" => Field::EventSerialNo,
            "scn" => Field::Scn,
            "commit_scn" => Field::CommitScn,
            "redo_thread" => Field::RedoThread,
            "rs_id" => Field::RsId,
            "ssn" => Field::Ssn,
            "ord" => Field::Ord,
            // Vitess's.
            "shard" => Field::Shard,
            // TiCDC's.
            "commit_ts" => Field::CommitTs,
            // CockroachDB's enriched changefeeds.
            "mvcc_timestamp" | "ts_hlc" => Field::Clock,
            "version" | "name" | "ts_us" | "ts_ns" | "txId" | "xmin" | "origin" | "origin_lsn"
            | "server_id" | "gtid" | "thread" | "query" | "txSeq" | "lcr_position" | "user_name"
            | "redo_sql" | "row_id" | "commit_ts_ms" | "start_scn" | "start_ts_ms" | "lsid" | "txnNumber"
            | "wallTime" | "keyspace" | "vgtid" => Field::Known,
            _ => Field::Unknown,
        }
    }
}

impl<'a> Source<'a> {
    /// Reads the block, an object, and keeps its text: one pass for both.
    pub(super) fn scan(scanner: &mut Scanner<'a>) -> Result<Source<'a>, Fault> {
        let mut source = Source::default();
        scanner.peek();
        let start = scanner.position();
        scanner.each_member(|scanner, name| {
            let token = scanner.skip()?;
            source.set(&name, token);
            Ok(())
        })?;
        source.raw = Some(scanner.since(start)?);
        Ok(source)
    }

    /// The same, whose text is that.
    pub(super) fn with_text(self, raw: Option<&'a str>) -> Source<'a> {
        Source { raw, ..self }
    }

    /// Takes one field. False where no connector has a field of that name.
    pub(super) fn set(&mut self, name: &str, token: &'a str) -> bool {
        let field = Field::of(name);
        self.take(field, token);
        field != Field::Unknown
    }

    /// The same of a field that is told apart already.
    pub(super) fn take(&mut self, field: Field, token: &'a str) {
        self.put(field, Token::Json(token));
    }

    /// The same of a value that may be no JSON.
    pub(super) fn put(&mut self, field: Field, token: Token<'a>) {
        let place = match field {
            Field::Connector => &mut self.connector,
            Field::Database => &mut self.database,
            Field::Schema => &mut self.schema,
            Field::Table => &mut self.table,
            Field::TsMs => &mut self.ts_ms,
            Field::Snapshot => &mut self.snapshot,
            Field::Sequence => &mut self.sequence,
            Field::Lsn => &mut self.lsn,
            Field::File => &mut self.file,
            Field::Pos => &mut self.pos,
            Field::Row => &mut self.row,
            Field::CommitLsn => &mut self.commit_lsn,
            Field::ChangeLsn => &mut self.change_lsn,
            Field::EventSerialNo => &mut self.event_serial_no,
            Field::Scn => &mut self.scn,
            Field::CommitScn => &mut self.commit_scn,
            Field::RedoThread => &mut self.redo_thread,
            Field::RsId => &mut self.rs_id,
            Field::Ssn => &mut self.ssn,
            Field::Ord => &mut self.ord,
            Field::Shard => &mut self.shard,
            Field::CommitTs => &mut self.commit_ts,
            Field::Clock => &mut self.clock,
            Field::Known | Field::Unknown => return,
        };
        // That an lsn is null says something: see `postgres`.
        *place = (token != Token::NULL || field == Field::Lsn).then_some(token);
    }

    /// The same, of a change in that transaction.
    pub(super) fn within(self, transaction: Transaction<'a>) -> Source<'a> {
        Source { transaction, ..self }
    }

    /// Which system it is, as far as that matters.
    pub(super) fn connector(&self) -> Connector {
        match self.connector.map(Token::bare) {
            Some("postgresql") => Connector::Postgres,
            Some(_) => Connector::Other,
            None => Connector::Unknown,
        }
    }

    /// True for MongoDB, whose rows are documents as text.
    pub(super) fn is_mongodb(&self) -> bool {
        self.connector.map(Token::bare) == Some("mongodb")
    }

    /// How much of a `before` holds by default: PostgreSQL's has made-up values but for the key's columns
    /// (captured from Debezium 3.7), and where no system is named it may be one.
    pub(super) fn belief(&self) -> Belief {
        match self.connector() {
            Connector::Postgres | Connector::Unknown => Belief::KeyColumns,
            Connector::Other => Belief::Whole,
        }
    }

    /// The table, where named. Debezium writes an empty text for a database that it does not know.
    pub(super) fn table(&self) -> Option<TableName<'a>> {
        let text = |token: Option<Token<'a>>| token.and_then(Token::text).filter(|text| !text.is_empty());
        let table: Cow<'a, str> = text(self.table)?;
        Some(TableName { database: text(self.database), schema: text(self.schema), table })
    }

    /// When the source committed it, Unix milliseconds.
    pub(super) fn commit_ms(&self) -> Option<i64> {
        self.ts_ms.and_then(Token::int)
    }

    /// The source position. `None` where the system has none that compares over partitions,
    /// [`Version::NONE`] where this row alone has none (in an incremental snapshot of PostgreSQL).
    ///
    /// Comparable within one lineage of one server: a failover that restarts positions is not noticed here.
    pub(super) fn version(&self) -> Option<Version> {
        let clocked = |token: Token<'_>| super::cockroach::version_of(&token.text()?);
        match self.connector.map(Token::bare) {
            Some("postgresql") => Some(self.postgres().unwrap_or(Version::NONE)),
            Some("mysql" | "mariadb") => self.mysql(),
            Some("sqlserver") => Some(self.sqlserver().unwrap_or(Version::NONE)),
            Some("oracle") => Some(self.oracle().unwrap_or(Version::NONE)),
            Some("mongodb") => self.mongodb(),
            Some("vitess") => self.transaction.version(self.shard.map(Token::bare)),
            Some("TiCDC") => Some(Version::from_parts(&[self.commit_ts?.bits()?])),
            Some(_) => self.clock.and_then(clocked),
            None if self.clock.is_some() => self.clock.and_then(clocked),
            // Flattened rows name their connector seldom, but their fields do.
            None if self.lsn.is_some() || self.sequence.is_some() => {
                Some(self.postgres().unwrap_or(Version::NONE))
            }
            None if self.shard.is_some() => self.transaction.version(self.shard.map(Token::bare)),
            None => self.mysql().or_else(|| self.sqlserver()).or_else(|| self.oracle()),
        }
    }

    /// (last commit, lsn): the stream is in commit order, so the lsn alone does not rise along it.
    ///
    /// A null last commit (snapshot rows, and the first transaction behind them) counts as the lsn itself,
    /// and so does a missing `sequence`. Were it zero, the rows of a second snapshot, taken after changes
    /// were streamed, would be older than those changes, and the guard would refuse the newer state.
    ///
    /// Rows of an incremental snapshot have a null lsn and a `sequence` that is not theirs (captured from
    /// Debezium 3.7: its second part may be below its first): they have no position.
    fn postgres(&self) -> Option<Version> {
        if self.snapshot.map(Token::bare) == Some("incremental") || self.lsn == Some(Token::NULL) {
            return None;
        }
        let (commit, lsn) = self.sequence.and_then(sequence).unwrap_or_default();
        let lsn = lsn.or_else(|| self.lsn.and_then(Token::bits))?;
        Some(Version::from_parts(&[commit.unwrap_or(lsn), lsn]))
    }

    /// (number behind the file's last dot, position, row): the file's text would put .999999 over .1000000.
    fn mysql(&self) -> Option<Version> {
        let file = self.file?.text()?;
        let (_, number) = file.rsplit_once('.')?;
        let row = self.row.and_then(Token::bits).unwrap_or(0);
        Some(Version::from_parts(&[number.parse().ok()?, self.pos?.bits()?, row]))
    }

    /// (commit lsn, change lsn, serial number); snapshot rows have no change lsn.
    fn sqlserver(&self) -> Option<Version> {
        let [commit_high, commit_low] = sqlserver_lsn(self.commit_lsn?)?;
        let [change_high, change_low] = self.change_lsn.and_then(sqlserver_lsn).unwrap_or_default();
        let serial = self.event_serial_no.and_then(Token::bits).unwrap_or(0);
        Some(Version::from_parts(&[commit_high, commit_low, change_high, change_low, serial]))
    }

    /// (commit SCN, SCN, redo thread, rs_id, ssn). SCNs are decimal texts of any length; snapshot rows have
    /// no commit SCN, and are as of their SCN.
    fn oracle(&self) -> Option<Version> {
        let scn = self.scn?.bits()?;
        let commit = self.commit_scn.and_then(Token::bits).unwrap_or(scn);
        let [segment, place] = self.rs_id.and_then(oracle_rs_id).unwrap_or_default();
        let thread = self.redo_thread.and_then(Token::bits).unwrap_or(0);
        let ssn = self.ssn.and_then(Token::bits).unwrap_or(0);
        Some(Version::from_parts(&[commit, scn, thread, segment, place, ssn]))
    }

    /// The oplog's time stamp: (seconds, ordinal). Members of a transaction share it.
    fn mongodb(&self) -> Option<Version> {
        let seconds = u64::try_from(self.commit_ms()?.checked_div(1000)?).ok()?;
        Some(Version::from_parts(&[seconds, self.ord?.bits()?]))
    }
}

/// A token without its quotes, where it has any.
fn bare(token: &str) -> &str {
    token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(token)
}

/// A number, which may be negative.
fn bits(digits: &str) -> Option<u64> {
    digits.parse().ok().or_else(|| digits.parse().ok().map(i64::cast_unsigned))
}

/// PostgreSQL's `sequence`: the text of a JSON array of two decimal texts or nulls.
fn sequence(token: Token<'_>) -> Option<(Option<u64>, Option<u64>)> {
    let (commit, lsn) = token.bare().strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
    let quote = if matches!(token, Token::Json(_)) { "\\\"" } else { "\"" };
    let quoted = |text: &str| text.strip_prefix(quote)?.strip_suffix(quote).and_then(bits);
    // As Debezium writes it, and any other way.
    let element = |text: &str| quoted(text).or_else(|| bits(text.trim().trim_matches(['\\', '"'])));
    Some((element(commit), element(lsn)))
}

/// `hhhhhhhh:hhhhhhhh:hhhh`, 80 bits, as two numbers.
fn sqlserver_lsn(token: Token<'_>) -> Option<[u64; 2]> {
    let mut parts = token.bare().split(':').map(|part| u64::from_str_radix(part, 16).ok());
    let (high, middle, low) = (parts.next()??, parts.next()??, parts.next()??);
    let fits = parts.next().is_none() && high <= u64::from(u32::MAX) && middle <= u64::from(u32::MAX);
    fits.then_some([high << 32 | middle, low])
}

/// `0x00003f.00000d9f.0010`: log sequence, block, offset, in hexadecimal.
fn oracle_rs_id(token: Token<'_>) -> Option<[u64; 2]> {
    let text = token.bare().trim();
    let mut parts = text.strip_prefix("0x")?.split('.').map(|part| u64::from_str_radix(part, 16).ok());
    let (segment, block, offset) = (parts.next()??, parts.next()??, parts.next()??);
    (block <= u64::from(u32::MAX)).then_some([segment, block << 16 | (offset & 0xffff)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<Version> {
        Source::scan(&mut Scanner::new(text, 0)).unwrap().version()
    }

    #[test]
    fn positions_rise_with_the_source_per_connector() {
        for rising in [
            &[
                r#"{"connector":"postgresql","snapshot":"incremental","sequence":"[\"9\",\"9\"]"}"#,
                r#"{"connector":"postgresql","sequence":"[null,\"100\"]","lsn":100}"#,
                r#"{"connector":"postgresql","sequence":"[null,\"120\"]","lsn":120}"#,
                r#"{"connector":"postgresql","sequence":"[\"130\",\"110\"]","lsn":110}"#,
                r#"{"connector":"postgresql","sequence":"[\"130\",\"125\"]","lsn":125}"#,
                r#"{"connector":"postgresql","sequence":null,"lsn":500}"#,
                r#"{"connector":"postgresql","snapshot":"first","sequence":"[null,\"600\"]","lsn":600}"#,
                r#"{"connector":"postgresql","sequence":"[\"-2\",\"-1\"]","lsn":-1}"#,
            ][..],
            &[
                r#"{"connector":"mysql","file":"bin.999999","pos":900,"row":3}"#,
                r#"{"connector":"mysql","file":"bin.1000000","pos":4,"row":0}"#,
                r#"{"connector":"mysql","file":"bin.1000000","pos":4,"row":1}"#,
                r#"{"connector":"mysql","file":"bin.1000000","pos":10}"#,
            ],
            &[
                r#"{"connector":"sqlserver","commit_lsn":"00000027:00000758:0005","change_lsn":null}"#,
                r#"{"connector":"sqlserver","commit_lsn":"00000027:00000758:0005","change_lsn":"00000027:00000758:0003","event_serial_no":1}"#,
                r#"{"connector":"sqlserver","commit_lsn":"00000027:00000758:0005","change_lsn":"00000027:00000758:0003","event_serial_no":2}"#,
                r#"{"connector":"sqlserver","commit_lsn":"00000028:00000001:0001","change_lsn":"00000027:00000758:0003"}"#,
            ],
            &[
                r#"{"connector":"oracle","scn":"999"}"#,
                r#"{"connector":"oracle","scn":"998","commit_scn":"1000","rs_id":" 0x00003f.00000d9f.0010 ","ssn":0}"#,
                r#"{"connector":"oracle","scn":"998","commit_scn":"1000","rs_id":" 0x00003f.00000d9f.0010 ","ssn":1}"#,
                r#"{"connector":"oracle","scn":"998","commit_scn":"1000","rs_id":" 0x00003f.00000da0.0000 ","ssn":0}"#,
            ],
            &[
                r#"{"connector":"mongodb","ts_ms":1709209800000,"ord":2}"#,
                r#"{"connector":"mongodb","ts_ms":1709209800000,"ord":10}"#,
                r#"{"connector":"mongodb","ts_ms":1709209801000,"ord":1}"#,
            ],
        ] {
            let versions: Vec<_> = rising.iter().map(|text| version(text).unwrap()).collect();
            for (pair, texts) in versions.windows(2).zip(rising.windows(2)) {
                assert!(pair[0] < pair[1], "{texts:?}");
            }
        }
    }

    #[test]
    fn where_there_is_no_position_none_is_made_up() {
        assert_eq!(version(r#"{"connector":"TiCDC","file":"","pos":0}"#), None);
        assert_eq!(version(r#"{"connector":"mysql","file":"","pos":0}"#), None);
        assert_eq!(version(r#"{"connector":"postgresql"}"#), Some(Version::NONE));
        assert_eq!(version("{}"), None);
    }

    #[test]
    fn odd_texts_are_no_position_and_no_panic() {
        for text in [
            r#"{"connector":"postgresql","sequence":"[","lsn":"x"}"#,
            r#"{"connector":"sqlserver","commit_lsn":"ffffffffff:1:1"}"#,
            r#"{"connector":"oracle","scn":"1e9"}"#,
        ] {
            assert_eq!(version(text), Some(Version::NONE), "{text}");
        }
        assert_eq!(version(r#"{"connector":"mongodb","ts_ms":-5000,"ord":1}"#), None);
    }
}
