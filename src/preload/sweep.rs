//! Deletes the entity's keys that the export does not hold.
//!
//! The key space is covered in slices by hash, one pass over the export and one over the masters each, so that memory
//! does not grow with either. A key goes only where it parses back under the entity's templates, did not change since
//! the export, and still holds what it held when it was found. Start at [`sweep`].

use std::collections::HashSet;
use std::sync::Arc;

use super::Trouble;
use super::feed::{Feed, Mapper, Place, Reach};
use super::load::Load;
use super::report::Ended;
use super::settle::{fingerprint, of_bytes};
use crate::entity::Entity;
use crate::entity::ambiguity::{Ambiguity, ambiguity};
use crate::entity::parse_back::literal_prefixes;
use crate::entity::template::Template;
use crate::mutation::CacheKey;
use crate::settings::Settings;
use crate::sink::redis::{Fingerprint, TakenBack};

/// Keys of the export that are held at a time: nine bytes each, and a spare.
const SLICE_MAX: usize = 4_000_000;
/// Slices; more would mean 64 billion keys.
const SLICES_MAX: u64 = 1 << 14;
/// Keys that a step of `SCAN` looks at.
const SCAN_COUNT: usize = 1_000;
/// Keys that are looked at before they are deleted.
const CANDIDATES_MAX: usize = 2_000;

/// Says no where it would not be clear which keys are the entity's.
pub(super) fn refuse_unclear(entity: &Entity, settings: &Settings) -> Result<(), Trouble> {
    if let Some(key) = entity.handler.keys().iter().find(|key| key.member().is_some()) {
        return Err(Trouble::Usage(format!(
            "--sweep finds keys, and cannot tell which members of {:?} the export does not hold",
            key.template().as_str()
        )));
    }
    for template in templates(entity) {
        if template.literal_prefix().is_empty() {
            return Err(Trouble::Usage(format!(
                "--sweep cannot find the keys of {:?}: they begin with a column",
                template.as_str()
            )));
        }
        for other in settings.entities.iter().filter(|other| other.name != entity.name) {
            let meets = other
                .handler
                .keys()
                .iter()
                .find(|key| ambiguity(template, key.template()) != Ambiguity::None);
            if let Some(key) = meets {
                return Err(Trouble::Usage(format!(
                    "--sweep cannot tell the keys of {:?} from those of entity {:?} ({:?})",
                    template.as_str(),
                    other.name,
                    key.template().as_str()
                )));
            }
        }
    }
    Ok(())
}

/// The templates whose keys a preload writes.
fn templates(entity: &Entity) -> impl Iterator<Item = &Template> {
    entity.handler.keys().iter().filter(|key| !key.is_invalidated()).map(|key| key.template())
}

/// Sweeps, once everything is loaded and settled.
pub(super) async fn sweep(
    load: &mut Load<'_>,
    mut mapper: Mapper,
    entity: &Entity,
    settings: &Settings,
) -> Result<(), Ended> {
    if load.report.rows_rejected > 0 {
        return Err(Ended::NotSwept("rows failed, so that not all keys of the export are known".to_owned()));
    }
    load.watch.note("sweeping: reading the export again for its keys");
    let mut slices = 1;
    let mut slice = 0;
    while slice < slices {
        match held(load, mapper, slice, slices).await? {
            (back, Some(held)) => {
                mapper = back;
                scan(load, entity, &settings.redis.own_prefix, &held, slice, slices).await?;
                slice += 1;
            }
            (back, None) => {
                mapper = back;
                slices *= 2;
                slice = 0;
                if slices > SLICES_MAX {
                    return Err(Ended::NotSwept("the export has too many keys".to_owned()));
                }
            }
        }
    }
    Ok(())
}

/// The keys of the export in a slice; none where they are too many.
async fn held(
    load: &mut Load<'_>,
    mapper: Mapper,
    slice: u64,
    slices: u64,
) -> Result<(Mapper, Option<HashSet<u64>>), Ended> {
    let reach = Arc::new(Reach::default());
    let mut feed =
        Feed::new(Arc::clone(&load.inputs), load.job.reading.clone(), mapper, Place::default(), reach);
    let mut held = HashSet::new();
    while let Some(chunk) =
        feed.next_chunk().map_err(|error| Ended::NotSwept(crate::telemetry::chain(&error)))?
    {
        load.look_around().await?;
        if !chunk.rejects.is_empty() {
            return Err(Ended::NotSwept(
                "rows failed, so that not all keys of the export are known".to_owned(),
            ));
        }
        let keys = chunk.puts.iter().map(|put| fingerprint(&put.key)).chain(chunk.withheld);
        held.extend(keys.filter(|key| key % slices == slice));
        if held.len() > SLICE_MAX {
            return Ok((feed.into_mapper(), None));
        }
    }
    Ok((feed.into_mapper(), Some(held)))
}

async fn scan(
    load: &mut Load<'_>,
    entity: &Entity,
    own_prefix: &str,
    held: &HashSet<u64>,
    slice: u64,
    slices: u64,
) -> Result<(), Ended> {
    let all: Vec<Template> = templates(entity).cloned().collect();
    let prefixes = literal_prefixes(&all);
    let mut attempt = 0;
    let masters = loop {
        match load.sink.masters().await {
            Ok(masters) => break masters,
            Err(error) => {
                attempt += 1;
                load.bear(&error, attempt).await?;
            }
        }
    };
    let mut candidates: Vec<CacheKey> = Vec::new();
    for master in &masters {
        for prefix in &prefixes {
            let mut cursor = 0;
            let mut attempt = 0;
            loop {
                load.look_around().await?;
                let before = load.now();
                let (next, keys) = match load.sink.scan(master, cursor, prefix, SCAN_COUNT).await {
                    Ok(found) => found,
                    Err(error) => {
                        attempt += 1;
                        load.bear(&error, attempt).await?;
                        continue;
                    }
                };
                attempt = 0;
                let took = load.now().saturating_sub(before);
                for key in keys {
                    let fingerprint = of_bytes(&key);
                    let is_candidate = fingerprint % slices == slice
                        && !held.contains(&fingerprint)
                        && !load.settling.is_changed(fingerprint)
                        && !key.starts_with(own_prefix.as_bytes())
                        && all.iter().any(|template| template.may_give(&key));
                    if is_candidate {
                        candidates.push(CacheKey::new(&key));
                    }
                }
                if candidates.len() >= CANDIDATES_MAX {
                    delete(load, std::mem::take(&mut candidates)).await?;
                }
                let pause = load.pace_of(0, took);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
    }
    delete(load, candidates).await
}

/// Deletes what still holds what it holds now, once it is known that no change made it.
async fn delete(load: &mut Load<'_>, mut keys: Vec<CacheKey>) -> Result<(), Ended> {
    keys.sort_unstable();
    keys.dedup();
    let mut found: Vec<(CacheKey, Fingerprint)> = Vec::with_capacity(keys.len());
    let mut attempt = 0;
    while !keys.is_empty() {
        let named: Vec<&[u8]> = keys.iter().map(CacheKey::as_bytes).collect();
        let outcomes = load.sink.fingerprints(&named).await;
        let mut open = Vec::new();
        let mut worst = None;
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            match outcome {
                Ok(Some(held)) if held.is_of_value() => found.push((key, held)),
                Ok(_) => {}
                Err(error) => {
                    open.push(key);
                    worst = Some(error);
                }
            }
        }
        keys = open;
        if let Some(error) = worst {
            attempt += 1;
            load.bear(&error, attempt).await?;
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    // A lane that wrote one of them before it was looked at did so for a change that comes to light now; one that
    // writes it from here on changes what it holds.
    load.settling.reach(Place { input: usize::MAX, row: 0 });
    load.settle().await?;
    found.retain(|(key, _)| !load.settling.is_changed(fingerprint(key)));
    let before = load.now();
    let count = found.len();
    let mut attempt = 0;
    while !found.is_empty() {
        let outcomes = load.sink.take_back(&found).await;
        let mut open = Vec::new();
        let mut worst = None;
        for (it, outcome) in found.into_iter().zip(outcomes) {
            match outcome {
                Ok(TakenBack::Deleted) => load.report.keys_swept += 1,
                Ok(TakenBack::Other | TakenBack::Right | TakenBack::Gone) => {}
                Err(error) => {
                    open.push(it);
                    worst = Some(error);
                }
            }
        }
        found = open;
        if let Some(error) = worst {
            attempt += 1;
            load.bear(&error, attempt).await?;
        }
    }
    let pause = load.pace_of(count, load.now().saturating_sub(before));
    tokio::time::sleep(pause).await;
    Ok(())
}
