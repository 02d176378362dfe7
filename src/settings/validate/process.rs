//! `[errors]`, `[limits]`, `[ready]`, `[verify]`, `[log]` and `[admin]`: how one process behaves.

use std::net::SocketAddr;

use super::Context;
use super::entity::Draft;
use crate::entity::Topics;
use crate::settings::document::Path;
use crate::settings::problem::suggestion;
use crate::settings::raw::{self, LogFormat as RawLogFormat, OnError as RawOnError};
use crate::settings::{
    Breaker, ErrorSettings, Limits, LogFormat, LogSettings, OnError, ReadySettings, RefillSettings,
    VerifySettings, defaults,
};

/// `[errors]`, checked.
pub(super) fn errors(raw: Option<&raw::Errors>, path: &Path, context: &mut Context<'_, '_>) -> ErrorSettings {
    let topic_path = path.key("dead_letter_topic");
    let topic = raw.and_then(|raw| raw.dead_letter_topic.as_ref()).map(|text| text.0.as_str());
    let topic = context.filled(topic, &topic_path);
    if let Some(wrong) = topic.and_then(topic_problem) {
        context.findings.refuse(&topic_path, wrong);
    }
    let unused = |context: &mut Context<'_, '_>, on_error: &str| {
        if topic.is_some() {
            let message = format!("is not used under on_error = {on_error:?}");
            context.findings.warn(&topic_path, message, None);
        }
    };
    let on_error = match (raw.and_then(|raw| raw.on_error.as_ref()), topic) {
        (None | Some(RawOnError::DeadLetter), Some(topic)) => OnError::DeadLetter { topic: topic.to_owned() },
        (Some(RawOnError::DeadLetter), None) => {
            if !context.findings.says(&topic_path) {
                let help = "write dead_letter_topic = \"…\" beside it";
                context.findings.refuse_with(&path.key("on_error"), "names no topic for dead letters", help);
            }
            OnError::Stop
        }
        (None, None) => OnError::Stop,
        (Some(RawOnError::Stop), _) => {
            unused(context, "stop");
            OnError::Stop
        }
        (Some(RawOnError::Skip), _) => {
            unused(context, "skip");
            OnError::Skip
        }
    };
    ErrorSettings { on_error, breaker: breaker(raw, &path.key("breaker"), context) }
}

fn breaker(raw: Option<&raw::Errors>, path: &Path, context: &mut Context<'_, '_>) -> Breaker {
    let raw = raw.and_then(|raw| raw.breaker.as_ref());
    let share = raw.and_then(|raw| raw.share.as_ref()).and_then(|raw| context.share(raw, &path.key("share")));
    let of = raw.and_then(|raw| raw.of).unwrap_or(defaults::BREAKER_OF);
    Breaker {
        share: share.unwrap_or(defaults::BREAKER_SHARE),
        // A 32-bit number fits wherever Stoker runs.
        of: usize::try_from(of).unwrap_or(usize::MAX),
    }
}

/// A dead letter that an entity reads again would fail again, for ever.
pub(super) fn check_dead_letters(
    errors: &ErrorSettings,
    entities: &[Draft],
    path: &Path,
    context: &mut Context<'_, '_>,
) {
    let OnError::DeadLetter { topic } = &errors.on_error else { return };
    for entity in entities {
        let reads = entity.topics.as_ref().is_some_and(|topics| topics.matches(topic));
        if let (true, Some(topics)) = (reads, &entity.topics) {
            let message = match topics {
                Topics::Names(_) => format!("is a topic that entity {:?} reads", entity.name),
                Topics::Pattern(_) => format!("matches the topics of entity {:?}", entity.name),
            };
            context.findings.refuse(&path.key("dead_letter_topic"), message);
        }
    }
}

/// What is wrong with a topic's name. The rule is Kafka's.
pub(super) fn topic_problem(name: &str) -> Option<&'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > defaults::TOPIC_LENGTH_MAX || !name.bytes().all(legal) {
        return Some("is no name of a topic: 1 to 249 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"");
    }
    matches!(name, "." | "..").then_some("is no name of a topic")
}

/// `[limits]`, checked.
pub(super) fn limits(raw: Option<&raw::Limits>, path: &Path, context: &mut Context<'_, '_>) -> Limits {
    let workers = raw.and_then(|raw| raw.workers).and_then(|workers| usize::try_from(workers).ok());
    let records = raw.and_then(|raw| raw.batch_records).unwrap_or(defaults::BATCH_RECORDS);
    let mut size = |raw, name: &str, default, bounds| context.size_or(raw, &path.key(name), default, bounds);
    let memory_bytes = size(
        raw.and_then(|raw| raw.memory.as_ref()),
        "memory",
        defaults::MEMORY_BYTES,
        &defaults::MEMORY_BYTES_BOUNDS,
    );
    let batch_bytes = size(
        raw.and_then(|raw| raw.batch_bytes.as_ref()),
        "batch_bytes",
        defaults::BATCH_BYTES,
        &defaults::BATCH_BYTES_BOUNDS,
    );
    let value_bytes = size(
        raw.and_then(|raw| raw.value_bytes.as_ref()),
        "value_bytes",
        defaults::VALUE_BYTES,
        &defaults::VALUE_BYTES_BOUNDS,
    );
    for (name, bytes) in [("batch_bytes", batch_bytes), ("value_bytes", value_bytes)] {
        if bytes > memory_bytes {
            // Where only `memory` is said, the default of the other is what does not fit.
            let named = if context.findings.says(&path.key(name)) { name } else { "memory" };
            context
                .findings
                .refuse(&path.key(named), format!("{name} is larger than memory, which holds it"));
        }
    }
    let drain = raw.and_then(|raw| raw.drain.as_ref());
    let drain = context.duration_or(drain, &path.key("drain"), defaults::DRAIN, &defaults::DRAIN_BOUNDS);
    Limits {
        workers: workers.unwrap_or_else(|| context.environment.cores()),
        memory_bytes,
        batch_records: usize::try_from(records).unwrap_or(usize::MAX),
        batch_bytes,
        value_bytes,
        drain,
    }
}

/// `[ready]`, checked.
pub(super) fn ready(raw: Option<&raw::Ready>, path: &Path, context: &mut Context<'_, '_>) -> ReadySettings {
    let lag = raw.and_then(|raw| raw.lag.as_ref());
    let bounds = &defaults::READY_LAG_BOUNDS;
    ReadySettings { lag: context.duration_or(lag, &path.key("lag"), defaults::READY_LAG, bounds) }
}

/// `[refill]`, checked.
pub(super) fn refill(
    raw: Option<&raw::Refill>,
    path: &Path,
    context: &mut Context<'_, '_>,
) -> RefillSettings {
    let memory =
        raw.and_then(|raw| raw.memory.as_ref()).and_then(|raw| context.share(raw, &path.key("memory")));
    RefillSettings { rate: raw.and_then(|raw| raw.rate), memory: memory.unwrap_or(defaults::REFILL_MEMORY) }
}

/// `[verify]`, checked.
pub(super) fn verify(
    raw: Option<&raw::Verify>,
    path: &Path,
    context: &mut Context<'_, '_>,
) -> Option<VerifySettings> {
    let sample = raw?.sample.as_ref();
    let sample = sample.and_then(|sample| context.share(sample, &path.key("sample")));
    Some(VerifySettings { sample: sample.unwrap_or(defaults::VERIFY_SAMPLE) }).filter(|it| it.sample > 0.0)
}

/// `[log]`, checked.
pub(super) fn log(raw: Option<&raw::Log>, path: &Path, context: &mut Context<'_, '_>) -> LogSettings {
    let format = match raw.and_then(|raw| raw.format.as_ref()) {
        None | Some(RawLogFormat::Auto) => LogFormat::Auto,
        Some(RawLogFormat::Text) => LogFormat::Text,
        Some(RawLogFormat::Json) => LogFormat::Json,
    };
    let level = raw.and_then(|raw| raw.level.as_ref()).map_or(defaults::LOG_LEVEL, |text| text.0.as_str());
    check_level(level, &path.key("level"), context);
    LogSettings { format, level: level.to_owned() }
}

/// The filter would take a misspelt level for the name of a module, and show nothing.
fn check_level(filter: &str, path: &Path, context: &mut Context<'_, '_>) {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in filter.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let shown = context.shown(level, path);
            let message = format!(
                "{shown} is no level: error, warn, info, debug or trace, as in \"info\" or \"info,stoker::lane=debug\""
            );
            match suggestion(level, LEVELS) {
                Some(alike) => {
                    context.findings.refuse_with(path, message, format!("did you mean {alike:?}?"))
                }
                None => context.findings.refuse(path, message),
            }
        }
    }
}

/// `[admin]`, checked; `None` where it is off.
pub(super) fn admin(raw: &raw::Admin, path: &Path, context: &mut Context<'_, '_>) -> Option<SocketAddr> {
    let path = path.key("listen");
    let listen = raw.listen.as_ref().map_or(defaults::ADMIN_LISTEN, |text| text.0.as_str());
    if listen == "off" {
        return None;
    }
    // Whoever writes localhost means this machine; an address needs no look-up at start.
    let address = match listen.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => listen.to_owned(),
    };
    if address.parse::<SocketAddr>().is_err() {
        let message = format!("{} is not address:port", context.shown(listen, &path));
        let help = "write \"127.0.0.1:9187\" for this machine alone, \"0.0.0.0:9187\" for all, or \"off\"";
        context.findings.refuse_with(&path, message, help);
    }
    address.parse().ok()
}
