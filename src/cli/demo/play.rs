//! What happens on the stage, in order: the history, the live changes with a closer look at some, the check.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::HumanCount;

use super::compare::{self, What};
use super::report::{Check, History, Live, Report, ShownEntry, ShownKey, ShownStep, millis};
use super::screen::Screen;
use super::server::Server;
use super::shop::{self, Event};
use super::stage::{Broker, Engine};
use super::story::{self, Becomes, Step};
use super::{Clock, DemoArgs, Trouble};
use crate::error::WorldError;
use crate::record::OwnedRecord;
use crate::settings::Loaded;
use crate::sink::redis::{Entry, Reader};

/// Live changes a second: slow enough to watch, and all of them within eight seconds.
const LIVE_PER_SECOND: u32 = 250;
/// To read a step in, where someone does.
const READING_TIME: Duration = Duration::from_millis(1_500);
/// A change is in Redis within a few milliseconds. Past this the check tells what is wrong.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How often a demo that is kept looks whether it still runs.
const KEEP_INTERVAL: Duration = Duration::from_millis(200);
/// Differences that are shown.
const DIFFERENCES_SHOWN: usize = 10;

/// Plays it all. True where every key is as it must be.
pub(super) fn play(
    args: &DemoArgs,
    server: &Server,
    clock: &Clock<'_>,
    screen: &mut Screen,
) -> Result<bool, Trouble> {
    let embedded = |error| Trouble::failed("the embedded records", &error);
    let (history, live) = (shop::history().map_err(embedded)?, shop::live().map_err(embedded)?);
    let expected = shop::expected().map_err(|error| Trouble::failed("the expected keys", &error))?;
    let mut broker = Broker::start(&history)?;
    broker.append_all(&history)?;
    let Loaded { settings, .. } = shop::settings(broker.brokers(), server.port())
        .map_err(|error| Trouble::failed("the shop's settings", &error))?;
    let own_prefix = settings.redis.own_prefix.clone();
    let reader = server.reader()?;
    let (brokers, redis) = (broker.brokers().to_owned(), format!("127.0.0.1:{}", server.port()));
    let started = clock.now();
    let engine = Engine::start(settings, clock)?;
    let admin = format!("http://{}/", engine.admin.address());

    screen.say("The changes of a shop's database, captured by Debezium, keep Redis hot:");
    screen.say(format_args!("  Kafka        {brokers}, a broker inside this process"));
    screen.say(format_args!("  Redis        {redis}, a server of the demo's own"));
    screen.say(format_args!("  status page  {admin}"));
    let mut stage = Stage { engine, broker, reader, own_prefix, clock };
    let history = stage.fill(&history, screen)?;
    let (live, steps) = stage.follow(&live, screen)?;

    let (held, own_key_count) = stage.held()?;
    let differences = compare::differences(&expected, &held, clock.now().saturating_sub(started));
    let extra_count = differences.iter().filter(|difference| difference.what == What::Extra).count();
    let check = Check {
        key_count: expected.len() + extra_count,
        differ_count: differences.len(),
        differences,
        own_key_count,
    };
    say_check(&check, screen);
    let good = check.differ_count == 0;
    if args.keep {
        say_keep(server.port(), &admin, &held, screen);
    } else {
        screen.say("\nTo look around in it: stoker demo --keep (make demo ARGS=--keep)");
    }
    screen.result(&Report { history, live, steps, check, redis, admin });
    if args.keep {
        stage.keep()?;
    }
    stage.engine.stop()?;
    Ok(good)
}

/// What runs, and a look at Redis beside it. Dropped in this order: the engine commits to the broker when it ends.
struct Stage<'a> {
    engine: Engine,
    broker: Broker,
    reader: Reader,
    own_prefix: String,
    clock: &'a Clock<'a>,
}

impl Stage<'_> {
    /// Waits until the history is in Redis.
    fn fill(&mut self, history: &[OwnedRecord], screen: &Screen) -> Result<History, Trouble> {
        screen.say("");
        screen.say(format_args!(
            "History: {} records, a snapshot of customers, products and orders.",
            number(history.len())
        ));
        // The lanes tell how far they are a few times a second; the number of keys tells it to the millisecond.
        let (mut begun, mut grown) = (None, self.clock.now());
        let (reader, clock) = (&mut self.reader, self.clock);
        let mut key_count = reader.key_count().map_err(redis_failed)?;
        self.engine.catch_up_while(&self.broker, clock, || {
            let found = reader.key_count().map_err(redis_failed)?;
            if found != key_count {
                (key_count, grown) = (found, clock.now());
                begun = begun.or(Some(grown));
            }
            Ok(())
        })?;
        let took = grown.saturating_sub(begun.unwrap_or(grown));
        let (held, _) = self.held()?;
        let a_second = u64::try_from(history.len()).unwrap_or(u64::MAX) * 1_000 / millis(took).max(1);
        screen.say(format_args!(
            "  {} keys in {} ms: {} records a second{}.",
            number(held.len()),
            millis(took),
            HumanCount(a_second),
            if cfg!(debug_assertions) { ", in a build that is not optimised" } else { "" }
        ));
        Ok(History { record_count: history.len(), key_count: held.len(), took_ms: millis(took) })
    }

    /// Lets the live changes come, with a closer look at some of them.
    fn follow(&mut self, events: &[Event], screen: &mut Screen) -> Result<(Live, Vec<ShownStep>), Trouble> {
        screen.say("");
        screen.say(format_args!(
            "Live: {} changes, {LIVE_PER_SECOND} a second. A few are shown, with the time from append to Redis.",
            number(events.len())
        ));
        let started = self.clock.now();
        let mut shown = Vec::new();
        let mut from = 0;
        screen.start_count(events.len());
        for step in story::steps(events) {
            self.flow(events.get(from..step.records.start).unwrap_or_default(), screen)?;
            let records = events.get(step.records.clone()).unwrap_or_default();
            shown.push(self.show(&step, records, screen)?);
            if screen.watched {
                self.clock.wait(READING_TIME)?;
            }
            from = step.records.end;
        }
        self.flow(events.get(from..).unwrap_or_default(), screen)?;
        self.engine.catch_up(&self.broker, self.clock)?;
        screen.end_count();
        let took_ms = millis(self.clock.now().saturating_sub(started));
        Ok((Live { record_count: events.len(), took_ms }, shown))
    }

    /// Appends changes at the visible pace.
    fn flow(&mut self, events: &[Event], screen: &mut Screen) -> Result<(), Trouble> {
        let mut due = self.clock.now();
        for event in events {
            self.broker.append(&event.record)?;
            screen.count(1);
            due += Duration::from_secs(1) / LIVE_PER_SECOND;
            self.clock.wait(due.saturating_sub(self.clock.now()))?;
        }
        self.engine.check()
    }

    /// One step by itself: its keys before it and after it.
    fn show(&mut self, step: &Step, events: &[Event], screen: &mut Screen) -> Result<ShownStep, Trouble> {
        self.engine.catch_up(&self.broker, self.clock)?;
        let keys: Vec<&str> = step.keys.iter().map(|(key, _)| key.as_str()).collect();
        let before = self.reader.entries(&keys).map_err(redis_failed)?;
        let appended = self.clock.now();
        for event in events {
            self.broker.append(&event.record)?;
        }
        screen.count(events.len());
        let mut visible = None;
        let mut after = self.reader.entries(&keys).map_err(redis_failed)?;
        while visible.is_none() && self.clock.now() < appended + VISIBLE_WITHIN {
            if has_become(step, &before, &after) {
                visible = Some(self.clock.now().saturating_sub(appended));
            } else {
                self.clock.wait(LOOK_INTERVAL)?;
                after = self.reader.entries(&keys).map_err(redis_failed)?;
            }
        }
        let seen = visible.map(|after| format!(" ({} ms)", millis(after)));
        screen.say(format_args!("\n  {}{}", step.title, seen.unwrap_or_default()));
        let looks = step.keys.iter().zip(before.iter().zip(&after));
        let keys = looks.map(|((key, _), (before, after))| {
            screen.say(format_args!("    {key}"));
            screen.say_entry("before", before.as_ref());
            screen.say_entry("after", after.as_ref());
            let shown = |entry: &Option<Entry>| entry.as_ref().map(ShownEntry::from);
            ShownKey { key: key.clone(), before: shown(before), after: shown(after) }
        });
        Ok(ShownStep {
            title: step.title.clone(),
            keys: keys.collect(),
            visible_after_ms: visible.map(millis),
        })
    }

    /// All keys of the cache, and the number of Stoker's own.
    fn held(&mut self) -> Result<(BTreeMap<String, Entry>, usize), Trouble> {
        let (own, keys): (Vec<_>, Vec<_>) = self
            .reader
            .keys()
            .map_err(redis_failed)?
            .into_iter()
            .partition(|key| key.starts_with(self.own_prefix.as_bytes()));
        let entries = self.reader.entries(&keys).map_err(redis_failed)?;
        let named = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
        let held = named.zip(entries).filter_map(|(key, entry)| Some((key, entry?)));
        Ok((held.collect(), own.len()))
    }

    /// Leaves all as it is until a signal comes.
    fn keep(&mut self) -> Result<(), Trouble> {
        loop {
            self.engine.check()?;
            match self.clock.wait(KEEP_INTERVAL) {
                Ok(()) => {}
                Err(Trouble::Interrupted) => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    }
}

fn has_become(step: &Step, before: &[Option<Entry>], after: &[Option<Entry>]) -> bool {
    let held = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.held.clone());
    step.keys.iter().zip(before.iter().zip(after)).all(|((_, becomes), (before, after))| match becomes {
        Becomes::Gone => after.is_none(),
        Becomes::New => after.is_some(),
        Becomes::Changed => after.is_some() && held(after) != held(before),
    })
}

fn say_check(check: &Check, screen: &Screen) {
    screen.say("\nCheck: every key, value and TTL in Redis against what SQL says of the database's rows.");
    screen.say(format_args!(
        "  {} keys checked, {} differ",
        number(check.key_count),
        number(check.differ_count)
    ));
    for difference in check.differences.iter().take(DIFFERENCES_SHOWN) {
        screen.say(format_args!("  {difference}"));
    }
    if check.differ_count > DIFFERENCES_SHOWN {
        screen.say(format_args!("  and {} more", number(check.differ_count - DIFFERENCES_SHOWN)));
    }
}

fn say_keep(port: u16, admin: &str, held: &BTreeMap<String, Entry>, screen: &Screen) {
    screen.say("\nIt stays as it is until Ctrl-C. To try:");
    let with = |prefix: &str| held.keys().find(|key| key.starts_with(prefix));
    for (command, prefix) in [("get", "customer:"), ("get", "customer-by-email:"), ("hgetall", "order:")] {
        if let Some(key) = with(prefix) {
            screen.say(format_args!("  redis-cli -p {port} {command} {key}"));
        }
    }
    if let Some(key) = with("product:") {
        screen.say(format_args!("  redis-cli -p {port} ttl {key}"));
    }
    screen.say(format_args!("  curl {admin}status"));
}

fn number(count: usize) -> HumanCount {
    HumanCount(u64::try_from(count).unwrap_or(u64::MAX))
}

fn redis_failed(error: WorldError) -> Trouble {
    Trouble::failed("Redis", &error)
}
