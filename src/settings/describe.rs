//! The settings in force, for the log at start. Secrets, and properties whose names sound like one, are starred
//! out.

use std::fmt::Display;

use super::units::{show_duration, show_share, show_size};
use super::{LogFormat, OnError, Partitioner, RedisAddress, RedisTarget, Settings, Start};

use crate::entity::{GuardBy, GuardRule, Topics};

impl Settings {
    /// Every setting in force with its value, defaults included, as the file would name them.
    ///
    /// Of an entity its topics, its format and the templates of its keys. Passwords, and properties that may hold a secret, are `***`.
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut lines = Lines(Vec::new());
        self.describe_kafka(&mut lines);
        self.describe_registry(&mut lines);
        self.describe_redis(&mut lines);
        self.describe_process(&mut lines);
        for entity in self.entities.iter() {
            let topics = match &entity.topics {
                Topics::Names(names) => names.join(", "),
                Topics::Pattern(pattern) => pattern.as_str().to_owned(),
            };
            let keys: Vec<&str> = entity.handler.keys().iter().map(|key| key.template().as_str()).collect();
            let format = entity.format.as_str();
            for (name, value) in [("topics", topics.as_str()), ("format", format), ("keys", &keys.join(", "))]
            {
                lines.say(&format!("entity.{}.{name}", entity.name), value);
            }
            if let Some(GuardRule { by, epoch }) = &entity.guard {
                let by = match by {
                    GuardBy::Source => "source".to_owned(),
                    GuardBy::Offset => "offset".to_owned(),
                    GuardBy::Columns(names) => names.join(", "),
                };
                lines.say(&format!("entity.{}.guard", entity.name), format!("{by}, epoch {epoch}"));
            }
        }
        lines.0
    }

    fn describe_kafka(&self, lines: &mut Lines) {
        lines.say("kafka.brokers", &self.kafka.brokers);
        lines.say("kafka.group", &self.kafka.group);
        lines.say(
            "kafka.start",
            match self.kafka.start {
                Start::Refill => "refill",
                Start::Earliest => "earliest",
                Start::Latest => "latest",
            },
        );
        lines.say(
            "kafka.partitioner",
            match self.kafka.partitioner {
                Partitioner::Murmur2 => "murmur2",
                Partitioner::Unknown => "unknown",
            },
        );
        for (name, value) in &self.kafka.properties {
            let shown = if may_be_secret(name) { "***" } else { value.expose() };
            lines.say(&format!("kafka.properties.{name}"), shown);
        }
    }

    fn describe_registry(&self, lines: &mut Lines) {
        let Some(registry) = &self.registry else { return };
        let urls: Vec<String> = registry.urls.iter().map(ToString::to_string).collect();
        lines.say("registry.url", urls.join(", "));
        if let Some(username) = &registry.username {
            lines.say("registry.username", username);
        }
        for (name, secret) in [("password", &registry.password), ("token", &registry.token)] {
            if secret.is_some() {
                lines.say(&format!("registry.{name}"), "***");
            }
        }
        let files = [("ca", &registry.tls.ca), ("cert", &registry.tls.cert), ("key", &registry.tls.key)];
        for (name, file) in files {
            if let Some(file) = file {
                lines.say(&format!("registry.tls.{name}"), file.display());
            }
        }
        lines.say("registry.timeout", show_duration(registry.timeout));
    }

    fn describe_redis(&self, lines: &mut Lines) {
        match &self.redis.target {
            RedisTarget::Single { address: RedisAddress::Tcp(host, port), database } => {
                lines.say("redis.server", format!("{host}:{port}"));
                lines.say("redis.database", database);
            }
            RedisTarget::Single { address: RedisAddress::Unix(path), database } => {
                lines.say("redis.server", path.display());
                lines.say("redis.database", database);
            }
            RedisTarget::Cluster(nodes) => lines.say("redis.cluster", nodes.join(", ")),
        }
        if let Some(username) = &self.redis.username {
            lines.say("redis.username", username);
        }
        if self.redis.password.is_some() {
            lines.say("redis.password", "***");
        }
        lines.say("redis.tls", if self.redis.tls.is_some() { "on" } else { "off" });
        let files =
            self.redis.tls.iter().flat_map(|tls| [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)]);
        for (name, file) in files {
            if let Some(file) = file {
                lines.say(&format!("redis.tls.{name}"), file.display());
            }
        }
        lines.say("redis.own_prefix", &self.redis.own_prefix);
        lines.say("redis.timeout", show_duration(self.redis.timeout));
        lines.say("redis.connect_timeout", show_duration(self.redis.connect_timeout));
    }

    fn describe_process(&self, lines: &mut Lines) {
        let (on_error, topic) = match &self.errors.on_error {
            OnError::DeadLetter { topic } => ("dead_letter", Some(topic)),
            OnError::Stop => ("stop", None),
            OnError::Skip => ("skip", None),
        };
        lines.say("errors.on_error", on_error);
        if let Some(topic) = topic {
            lines.say("errors.dead_letter_topic", topic);
        }
        lines.say("errors.breaker.share", show_share(self.errors.breaker.share));
        lines.say("errors.breaker.of", self.errors.breaker.of);
        lines.say("limits.workers", self.limits.workers);
        lines.say("limits.memory", show_size(self.limits.memory_bytes));
        lines.say("limits.batch_records", self.limits.batch_records);
        lines.say("limits.batch_bytes", show_size(self.limits.batch_bytes));
        lines.say("limits.value_bytes", show_size(self.limits.value_bytes));
        lines.say("limits.drain", show_duration(self.limits.drain));
        lines.say("ready.lag", show_duration(self.ready.lag));
        if let Some(rate) = self.refill.rate {
            lines.say("refill.rate", rate);
        }
        lines.say("refill.memory", show_share(self.refill.memory));
        lines.say("verify.sample", self.verify.map_or_else(|| "off".to_owned(), |it| show_share(it.sample)));
        lines.say(
            "log.format",
            match self.log.format {
                LogFormat::Auto => "auto",
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
        );
        lines.say("log.level", &self.log.level);
        lines.say("admin.listen", self.admin.map_or_else(|| "off".to_owned(), |address| address.to_string()));
    }
}

struct Lines(Vec<(String, String)>);

impl Lines {
    fn say(&mut self, name: &str, value: impl Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }
}

/// True where a librdkafka property may hold a secret. Everything of SASL but the name of the mechanism;
/// elsewhere by what the name holds (`ssl.key.pem`, `ssl.keystore.password`, `ssl_certificate`, …).
fn may_be_secret(name: &str) -> bool {
    const TELLING: [&str; 9] =
        ["password", "secret", "key", "token", "pem", "certificate", "credential", "jaas", "proxy"];
    let harmless =
        ["sasl.mechanism", "sasl.mechanisms", "enable.ssl.certificate.verification"].contains(&name);
    !harmless && (name.starts_with("sasl.") || TELLING.iter().any(|part| name.contains(part)))
}
