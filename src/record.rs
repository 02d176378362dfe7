//! What Kafka delivers: one record, borrowed from the fetch buffer.
//!
//! Plain data. The position of a record travels with it; a *position* is the offset of the next
//! record to read, so a record at offset 7 is done when the position is 8.

/// The offset of the next record to read of a partition. What a commit takes.
pub type Position = i64;

/// One record, borrowed from whoever delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition number, from 0.
    pub partition: i32,
    /// Offset of this record; the position after it is one more.
    pub offset: i64,
    /// Kafka's record timestamp, Unix milliseconds, where the record has one.
    pub timestamp_ms: Option<i64>,
    /// The record key's bytes; `None` is Kafka's null, `Some(&[])` is an empty key.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is Kafka's null (a tombstone), `Some(&[])` is an empty value.
    pub value: Option<&'a [u8]>,
    /// The record's headers, looked at only where a format or a dead letter needs them.
    pub headers: &'a dyn Headers,
}

/// Headers of a record. Names may repeat, values may be null; where a name repeats the last one counts.
pub trait Headers: std::fmt::Debug + Sync {
    /// Number of headers.
    fn count(&self) -> usize;
    /// The header at `index`, in the order of the record; `None` past the end.
    fn get(&self, index: usize) -> Option<(&str, Option<&[u8]>)>;
    /// The value of the last header of that name; `None` where there is none or it is null.
    fn last(&self, name: &str) -> Option<&[u8]> {
        (0..self.count())
            .rev()
            .filter_map(|index| self.get(index))
            .find(|(found, _)| *found == name)
            .and_then(|(_, value)| value)
    }
}

/// A record without headers.
#[derive(Debug, Clone, Copy)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn count(&self) -> usize {
        0
    }
    fn get(&self, _index: usize) -> Option<(&str, Option<&[u8]>)> {
        None
    }
}

/// A record that owns its bytes: for tests, `explain`, dead letters and the memory source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset of this record.
    pub offset: i64,
    /// Kafka's record timestamp, Unix milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Key bytes; `None` is null.
    pub key: Option<Vec<u8>>,
    /// Value bytes; `None` is null.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Headers for OwnedRecord {
    fn count(&self) -> usize {
        self.headers.len()
    }
    fn get(&self, index: usize) -> Option<(&str, Option<&[u8]>)> {
        self.headers.get(index).map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// What a source delivers: anything that can be looked at as a [`Record`].
pub trait AsRecord {
    /// The record, borrowed.
    fn as_record(&self) -> Record<'_>;

    /// Bytes of key and value together.
    fn size_bytes(&self) -> usize {
        self.as_record().size_bytes()
    }
}

impl AsRecord for OwnedRecord {
    fn as_record(&self) -> Record<'_> {
        Record {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self,
        }
    }
}

impl Record<'_> {
    /// A copy that owns its bytes.
    pub fn to_owned_record(&self) -> OwnedRecord {
        OwnedRecord {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: (0..self.headers.count())
                .filter_map(|index| self.headers.get(index))
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    /// Bytes of key and value together.
    pub fn size_bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}
