//! `stoker inspect KEY`: one key's story. Ends with 7 where Redis does not hold what the topics say.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::HumanCount;
use serde_json::{Map, Value as Json, json};

use super::Output;
use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::verify::{ended, with_parts};
use crate::entity::Handlers;
use crate::mutation::Value;
use crate::sink::redis::Held;
use crate::verify::{Does, Finding, Options, Story, Told, Verify, Wanted};

/// Options of `stoker inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct InspectArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The key
    key: String,
    /// Of a set or sorted set: this member of it
    #[arg(long)]
    member: Option<String>,
    /// Show values too: what Redis holds, and what the topics say
    #[arg(long)]
    show_value: bool,
}

pub(super) fn inspect(args: &InspectArgs, output: Output, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let options = Options {
        entity: None,
        sample: 1.0,
        since: None,
        examples: 1,
        memory_bytes: settings.limits.memory_bytes,
    };
    let member = args.member.as_deref();
    let tell = |verify: Verify<'_>| verify.story(args.key.as_bytes(), member.map(str::as_bytes));
    let story = match with_parts(&settings, options, tell) {
        Ok(story) => story,
        Err(exit) => return exit,
    };
    let mut out = io::stdout().lock();
    let written = match output {
        Output::Text => text(args, &story, &mut out),
        Output::Json => writeln!(out, "{}", object(args, &story)),
    };
    let exit = match story.finding {
        Finding::Wrong(_) => Exit::Incomplete,
        Finding::Right
        | Finding::Expired
        | Finding::Raced
        | Finding::Behind
        | Finding::Evicted
        | Finding::Invalidated
        | Finding::Members
        | Finding::NoTemplate
        | Finding::Unknown => Exit::Done,
    };
    ended(exit, written.and_then(|()| out.flush()))
}

fn text(args: &InspectArgs, story: &Story, out: &mut dyn Write) -> io::Result<()> {
    let shows_value = args.show_value;
    match &args.member {
        None => writeln!(out, "{}", args.key)?,
        Some(member) => writeln!(out, "{} member {member}", args.key)?,
    }
    for (entity, template) in &story.givers {
        writeln!(out, "  template  {template} of {entity}")?;
    }
    match &story.held {
        None => writeln!(out, "  Redis     not there")?,
        Some((shown, held)) => {
            let size = HumanCount(shown.bytes as u64);
            let (what, life) = (&shown.r#type, life(shown.ttl_ms));
            match held {
                Held::Member(_) => writeln!(out, "  Redis     a member of a {what}, {life}")?,
                Held::NoSet(_) => writeln!(out, "  Redis     a {what}, which has no such members")?,
                Held::String(_) | Held::Hash(_) | Held::Other(_) => {
                    writeln!(out, "  Redis     {what} of {size} bytes, {life}")?;
                }
            }
            if shows_value {
                writeln!(out, "            {}", of_held(held))?;
            }
        }
    }
    if let Some(guard) = &story.guard {
        let rewrite =
            guard.rewrite.as_ref().map_or_else(String::new, |name| format!(", by the rewrite {name}"));
        writeln!(
            out,
            "  guard     version {} of {}{rewrite}, {}",
            guard.version,
            guard.row,
            life(guard.ttl_ms)
        )?;
    }
    for told in &story.touches {
        let Told { record, does, made_it, .. } = told;
        let mark = if *made_it { "made by" } else { "record" };
        let did = match does {
            Does::Write => "writes it",
            Does::Delete => "deletes it",
            Does::CompareAndDelete => "deletes it while it holds the row's value",
            Does::Merge => "lays a part of a value over what it holds",
        };
        let at = record.timestamp_ms.map_or_else(String::new, |at_ms| format!(" at {}", moment(at_ms)));
        writeln!(
            out,
            "  {mark:9} {}/{} offset {}{at}: {did}",
            record.topic, record.partition, record.offset
        )?;
    }
    match &story.expected {
        None if story.givers.is_empty() => {}
        None => writeln!(out, "  topics    nothing should be there")?,
        Some(Wanted { redis_type, value, ttl_ms }) => {
            let life = match ttl_ms {
                None => "no TTL".to_owned(),
                Some((least, most)) => format!("TTL {least} to {most} ms"),
            };
            writeln!(out, "  topics    {redis_type}, {life}")?;
            if let Some(value) = value.as_ref().filter(|_| shows_value) {
                writeln!(out, "            {}", of_value(value))?;
            }
        }
    }
    writeln!(out, "  finding   {}", words(story.finding))?;
    writeln!(out, "  {} records read", HumanCount(story.records))
}

fn words(finding: Finding) -> &'static str {
    match finding {
        Finding::Right => "right",
        Finding::Expired => "right: its TTL may have run out since its last change",
        Finding::Raced => "right: the order of partitions can leave it so",
        Finding::Behind => "cannot be judged: the group has not come to its last change",
        Finding::Evicted => "missing: it may have been evicted",
        Finding::Invalidated => "its readers fill it; records only delete it",
        Finding::Members => "a set: name one of its members with --member",
        Finding::NoTemplate => "no entity's template gives this key",
        Finding::Unknown => "cannot be judged: the topics do not tell what made it",
        Finding::Wrong(difference) => difference.name(),
    }
}

fn object(args: &InspectArgs, story: &Story) -> Json {
    let shows_value = args.show_value;
    let mut all = Map::new();
    all.insert("key".to_owned(), args.key.as_str().into());
    if let Some(member) = &args.member {
        all.insert("member".to_owned(), member.as_str().into());
    }
    let givers =
        story.givers.iter().map(|(entity, template)| json!({ "entity": entity, "template": template }));
    all.insert("templates".to_owned(), givers.collect());
    let held = story.held.as_ref().map(|(shown, held)| {
        let mut object = json!(shown);
        if shows_value {
            object["value"] = of_held(held);
        }
        object
    });
    all.insert("held".to_owned(), json!(held));
    if let Some(guard) = &story.guard {
        let mut object = json!({ "version": guard.version, "row": guard.row, "ttl_ms": guard.ttl_ms });
        if let Some(rewrite) = &guard.rewrite {
            object["rewrite"] = json!(rewrite);
        }
        all.insert("guard".to_owned(), object);
    }
    let touches = story.touches.iter().map(|told| {
        let mut object = json!(told.record);
        object["entity"] = json!(told.entity);
        object["does"] = json!(told.does);
        object["made_it"] = json!(told.made_it);
        if let Some(version) = &told.version {
            object["version"] = json!(version);
        }
        object
    });
    all.insert("records".to_owned(), touches.collect());
    let expected = story.expected.as_ref().map(|Wanted { redis_type, value, ttl_ms }| {
        let mut object = json!({ "type": redis_type, "ttl_ms": ttl_ms.map(|(least, most)| [least, most]) });
        if let Some(value) = value.as_ref().filter(|_| shows_value) {
            object["value"] = of_value(value);
        }
        object
    });
    all.insert("expected".to_owned(), json!(expected));
    all.insert("finding".to_owned(), json!(story.finding));
    Json::Object(all)
}

fn of_held(held: &Held) -> Json {
    match held {
        Held::String(bytes) => of_bytes(bytes),
        Held::Hash(fields) => fields.iter().map(|(name, value)| (lossy(name), of_bytes(value))).collect(),
        Held::Member(Some(score)) => of_bytes(score),
        Held::Member(None) | Held::Other(_) | Held::NoSet(_) => Json::Null,
    }
}

fn of_value(value: &Value) -> Json {
    match value {
        Value::String { bytes, .. } => of_bytes(bytes),
        Value::Hash(fields) => fields.iter().map(|(name, value)| (lossy(name), of_bytes(value))).collect(),
        Value::Member { score } => score.as_deref().map_or(Json::Null, of_bytes),
    }
}

/// A text; what is none as an object with its base64.
fn of_bytes(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "b64": STANDARD.encode(bytes) }),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn life(ttl_ms: Option<i64>) -> String {
    ttl_ms.map_or_else(|| "no TTL".to_owned(), |ttl_ms| format!("TTL {ttl_ms} ms"))
}

/// A moment as people and scripts read it; its number where it is outside of the calendar.
fn moment(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
