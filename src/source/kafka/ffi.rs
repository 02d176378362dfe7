//! The few calls that go to librdkafka itself, because the safe binding panics on bytes from outside or
//! lacks them. Every `unsafe` of the Kafka edge is in this file.
//!
//! - Header names and commit metadata that are not UTF-8 panic in rdkafka 0.39 (`try_get`, `metadata`).
//! - A synchronous commit has no time limit there: with the coordinator away it blocks for a session.
//! - The watermarks that came with the last fetch are not exposed, and asking the broker costs a round trip.

#![expect(unsafe_code, reason = "librdkafka is called directly where rdkafka has no safe and total call")]

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

/// Stands for a header name that is not UTF-8.
const NOT_UTF8: &str = "\u{fffd}";

/// One entry of a partition list, copied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: Option<i64>,
    /// `None` where it is not UTF-8.
    pub(super) metadata: Option<String>,
    pub(super) error: Option<RDKafkaErrorCode>,
}

/// The entries of a partition list.
pub(super) fn entries(list: &TopicPartitionList) -> Vec<Entry> {
    let count = list.count();
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: the list owns `count` initialised elements, and `topic` is a C string that lives as long.
        let (raw, topic) = unsafe {
            let raw = &*(*list.ptr()).elems.add(index);
            (raw, CStr::from_ptr(raw.topic).to_string_lossy().into_owned())
        };
        let metadata: &[u8] = if raw.metadata.is_null() || raw.metadata_size == 0 {
            &[]
        } else {
            // SAFETY: librdkafka keeps `metadata_size` bytes there, or a null pointer.
            unsafe { std::slice::from_raw_parts(raw.metadata.cast::<u8>(), raw.metadata_size) }
        };
        entries.push(Entry {
            topic,
            partition: raw.partition,
            offset: match Offset::from_raw(raw.offset) {
                Offset::Offset(offset) if offset >= 0 => Some(offset),
                _ => None,
            },
            metadata: std::str::from_utf8(metadata).ok().map(str::to_owned),
            error: raw.err.is_error().then(|| raw.err.into()),
        });
    }
    entries
}

/// The record's headers as librdkafka holds them; null where there are none.
fn headers(message: &BorrowedMessage<'_>) -> *mut bindings::rd_kafka_headers_t {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is alive as long as the borrow; the headers are owned by it.
    let error = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if error.is_error() { std::ptr::null_mut() } else { headers }
}

/// Number of headers.
pub(super) fn header_count(message: &BorrowedMessage<'_>) -> usize {
    let headers = headers(message);
    if headers.is_null() {
        return 0;
    }
    // SAFETY: not null, owned by the message.
    unsafe { bindings::rd_kafka_header_cnt(headers) }
}

/// The header at `index`. A name that is not UTF-8 is given as the replacement character.
pub(super) fn header<'m>(
    message: &'m BorrowedMessage<'_>,
    index: usize,
) -> Option<(&'m str, Option<&'m [u8]>)> {
    let headers = headers(message);
    if headers.is_null() {
        return None;
    }
    let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: `headers` is owned by the message; name and value live as long as it does.
    unsafe {
        let error =
            bindings::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
        if error.is_error() || name.is_null() {
            return None;
        }
        let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
        Some((CStr::from_ptr(name).to_str().unwrap_or(NOT_UTF8), value))
    }
}

/// Low and high watermark as of the last fetch of an assigned partition; `None` before the first one.
pub(super) fn known_watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<(i64, i64)> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive as long as the consumer; the call copies what it needs.
    let error = unsafe {
        bindings::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (!error.is_error() && low >= 0 && high >= 0).then_some((low, high))
}

/// Commits and waits for the coordinator's answer, at most `within`.
///
/// After [`RDKafkaErrorCode::OperationTimedOut`] the commit may still land. `NoOffset` (nothing to
/// commit) is success.
pub(super) fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    positions: &TopicPartitionList,
    within: Duration,
) -> Result<(), RDKafkaErrorCode> {
    let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: the queue is made here and destroyed here; librdkafka copies the list and counts its own
    // reference to the queue for an answer that comes late. The event is read before it is destroyed.
    unsafe {
        let queue = bindings::rd_kafka_queue_new(client);
        let sent =
            bindings::rd_kafka_commit_queue(client, positions.ptr(), queue, None, std::ptr::null_mut());
        let answer = if sent.is_error() {
            sent
        } else {
            let event = bindings::rd_kafka_queue_poll(queue, within_ms);
            if event.is_null() {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT
            } else {
                let answer = worst_of(event);
                bindings::rd_kafka_event_destroy(event);
                answer
            }
        };
        bindings::rd_kafka_queue_destroy(queue);
        match answer {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR | RDKafkaRespErr::RD_KAFKA_RESP_ERR__NO_OFFSET => {
                Ok(())
            }
            error => Err(error.into()),
        }
    }
}

/// The error of a commit's answer, or that of the first partition that has one.
///
/// # Safety
/// `event` is a live event of a commit.
unsafe fn worst_of(event: *mut bindings::rd_kafka_event_t) -> RDKafkaRespErr {
    // SAFETY: the caller's promise; the list is owned by the event and holds `cnt` elements.
    unsafe {
        let error = bindings::rd_kafka_event_error(event);
        let list = bindings::rd_kafka_event_topic_partition_list(event);
        if error.is_error() || list.is_null() {
            return error;
        }
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        (0..count).map(|index| (*(*list).elems.add(index)).err).find(IsError::is_error).unwrap_or(error)
    }
}
