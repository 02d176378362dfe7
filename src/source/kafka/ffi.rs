//! The few calls that go to librdkafka itself, because the safe binding panics on bytes from outside or
//! lacks them. Every `unsafe` of the Kafka edge is in this file.
//!
//! - Header names and commit metadata that are not UTF-8 panic in rdkafka 0.39 (`try_get`, `metadata`).
//! - A commit by hand is either not answered there or waited for without a limit (with the coordinator away,
//!   a session long).
//! - The watermarks that came with the last fetch are not exposed, and asking the broker costs a round trip.

#![expect(unsafe_code, reason = "librdkafka is called directly where rdkafka has no safe and total call")]

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
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
    // SAFETY: the list is alive.
    unsafe { raw_entries(list.ptr()) }
}

/// # Safety
/// `list` is a live partition list.
unsafe fn raw_entries(list: *const bindings::rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    // SAFETY: the caller's promise; the list holds `cnt` initialised elements.
    let (elements, count) = unsafe { ((*list).elems, usize::try_from((*list).cnt).unwrap_or(0)) };
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: within the count; `topic` is a C string, and `metadata` points to `metadata_size` bytes
        // or is null.
        let (raw, topic, metadata) = unsafe {
            let raw = &*elements.add(index);
            let metadata: &[u8] = if raw.metadata.is_null() || raw.metadata_size == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(raw.metadata.cast::<u8>(), raw.metadata_size)
            };
            (raw, CStr::from_ptr(raw.topic).to_string_lossy().into_owned(), metadata)
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

/// Where the answers of commits come in.
///
/// rdkafka's `commit_callback` is never called for a commit by hand: librdkafka sends its answer to the
/// queue that it was given, and rdkafka gives none.
#[derive(Debug)]
pub(super) struct CommitQueue<'c> {
    queue: *mut bindings::rd_kafka_queue_t,
    client: *mut bindings::rd_kafka_t,
    /// The client outlives its queue.
    consumer: PhantomData<&'c ()>,
}

impl<'c> CommitQueue<'c> {
    pub(super) fn new<C: ConsumerContext>(consumer: &'c BaseConsumer<C>) -> CommitQueue<'c> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive as long as the consumer; the queue is destroyed when dropped.
        let queue = unsafe { bindings::rd_kafka_queue_new(client) };
        CommitQueue { queue, client, consumer: PhantomData }
    }

    /// Sends a commit; its answer comes to this queue, later.
    pub(super) fn send(&self, positions: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client and queue are alive; librdkafka copies the list and counts its own reference to
        // the queue for an answer that comes after this one is dropped.
        let sent = unsafe {
            bindings::rd_kafka_commit_queue(
                self.client,
                positions.ptr(),
                self.queue,
                None,
                std::ptr::null_mut(),
            )
        };
        if sent.is_error() { Err(sent.into()) } else { Ok(()) }
    }

    /// The answer of a commit, waited for at most so long: positions that the coordinator took, or the error
    /// of one of them.
    pub(super) fn answer(&self, within: Duration) -> Option<Result<Vec<Entry>, RDKafkaErrorCode>> {
        let within_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive. The event is read before it is destroyed, and owns its list.
        unsafe {
            let event = bindings::rd_kafka_queue_poll(self.queue, within_ms);
            if event.is_null() {
                return None;
            }
            let error = bindings::rd_kafka_event_error(event);
            let list = bindings::rd_kafka_event_topic_partition_list(event);
            let entries = if list.is_null() { Vec::new() } else { raw_entries(list) };
            bindings::rd_kafka_event_destroy(event);
            // Nothing to commit is no failure.
            if error.is_error() && error != RDKafkaRespErr::RD_KAFKA_RESP_ERR__NO_OFFSET {
                return Some(Err(error.into()));
            }
            Some(match entries.iter().find_map(|entry| entry.error) {
                Some(error) => Err(error),
                None => Ok(entries),
            })
        }
    }
}

impl Drop for CommitQueue<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and destroyed only here.
        unsafe { bindings::rd_kafka_queue_destroy(self.queue) }
    }
}

/// Lets a mock cluster's groups assign at once, where they wait 3 s for more members by default. False
/// where the client has no mock cluster.
pub(super) fn no_initial_rebalance_delay<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive, and owns the mock cluster if there is one.
    unsafe {
        let cluster = bindings::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
        !cluster.is_null()
    }
}
