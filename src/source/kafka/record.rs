//! A record in librdkafka's fetch buffer, looked at as ours.

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use super::ffi;
use crate::record::{AsRecord, Headers, Record};

/// A record as librdkafka delivers it: nothing is copied.
///
/// It pins the whole fetch buffer that it came in (up to `fetch.max.bytes`), so it is to be dropped when it
/// was handled; who needs its bytes later reads it again by its position ([`super::reread()`]).
#[derive(Debug)]
pub struct KafkaRecord<'a>(pub(super) BorrowedMessage<'a>);

impl Headers for KafkaRecord<'_> {
    fn count(&self) -> usize {
        ffi::header_count(&self.0)
    }

    fn get(&self, index: usize) -> Option<(&str, Option<&[u8]>)> {
        ffi::header(&self.0, index)
    }
}

impl AsRecord for KafkaRecord<'_> {
    fn as_record(&self) -> Record<'_> {
        Record {
            topic: self.0.topic(),
            partition: self.0.partition(),
            offset: self.0.offset(),
            timestamp_ms: self.0.timestamp().to_millis(),
            key: self.0.key(),
            value: self.0.payload(),
            headers: self,
        }
    }

    // Without the topic's name, which is measured and checked each time that it is asked for.
    fn size_bytes(&self) -> usize {
        self.0.key_len() + self.0.payload_len()
    }
}
