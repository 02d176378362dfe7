//! Everything before the first write: what is asked for, what is there, whether it fits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::feed::{Feed, Mapper, Place, Reach};
use super::fit::{self, Fit, Sample};
use super::known::{Known, Pipelines, Supply};
use super::report::Watch;
use super::sweep;
use super::topic::TopicInputs;
use super::{AsOf, Job, Trouble};
use crate::clock::SystemClock;
use crate::entity::{Entity, GuardBy, GuardRule, Lifetime, ReplicaIdentity, Topics};
use crate::export::{Input, Origin, find, inputs};
use crate::pipeline::Pipeline;
use crate::settings::Settings;
use crate::sink::redis::{NodeLoad, Over};
use crate::source::kafka::reader::{From, TopicReader};
use crate::telemetry::chain;

/// For each question to Kafka before it begins.
const KAFKA_WITHIN: Duration = Duration::from_secs(10);
/// What clocks of producers may be behind: records this much older than the export's time count as newer.
const CLOCKS_MS: i64 = 60_000;
/// Rows of the sample in all, and inputs that they are taken of.
const SAMPLE_ROWS: u64 = 2_000;
const SAMPLE_INPUTS: usize = 8;
/// Bytes that are read of an input at least where only its bytes tell how many rows it has: many times the buffer by
/// which reading is ahead of the rows. Rows are not more than this many times the sample's then.
const SAMPLE_BYTES: u64 = 1 << 20;
const SAMPLE_MORE: u64 = 20;

/// A load that may begin.
pub struct Prepared {
    pub(super) job: Job,
    pub(super) settings: Settings,
    pub(super) entity: Entity,
    pub(super) inputs: Arc<[Input]>,
    pub(super) bytes_all: u64,
    pub(super) mapper: Mapper,
    /// The topics from the export's time on; `None` without protection.
    pub(super) follow: Option<(TopicReader, Pipeline, Supply)>,
    pub(super) sample: Sample,
    /// Rows in all, about; `None` where that is not known.
    pub(super) rows_all: Option<u64>,
    pub(super) missing: Vec<String>,
    pub(super) checkpoint: Option<(PathBuf, Checkpoint)>,
    /// True where it goes on with a load that was ended.
    pub(super) goes_on: bool,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("job", &self.job).finish_non_exhaustive()
    }
}

/// The columns that are read of the files; `None` where it may be all of them.
fn columns_of(entity: &Entity, known: &Known) -> Option<Vec<String>> {
    let rules = &entity.rules;
    // Where names are read in lower case, the files' own are not known.
    let mut columns = entity.handler.columns().filter(|_| !rules.lower_case)?;
    columns.extend(known.key_columns.iter().flatten().cloned());
    columns.extend(rules.op_column.iter().map(|op| op.column.clone()));
    if let Some(GuardRule { by: GuardBy::Columns(versions), .. }) = &entity.guard {
        columns.extend(versions.iter().cloned());
    }
    if let ReplicaIdentity::Index(index) = &entity.replica_identity {
        columns.extend(index.iter().cloned());
    }
    // Which row it is, all of its columns tell.
    known.key_columns.as_ref()?;
    columns.sort_unstable();
    columns.dedup();
    Some(columns)
}

/// Prepares a load: finds the files, asks the topics, looks at a sample. Writes nothing.
///
/// `pipelines` makes pipelines over one entity that know the registry; `supply` tells them its schemas.
///
/// # Errors
/// What is asked for makes no sense, is not there, or cannot be reached.
pub fn prepare(
    mut job: Job,
    settings: Settings,
    pipelines: Pipelines,
    supply: Supply,
    watch: &mut dyn Watch,
) -> Result<Prepared, Trouble> {
    let entity = entity_of(&job, &settings)?;
    let partitions = partitions_of(&inputs::topics(&job.paths), &settings)?;
    let mut inputs = find(&job.paths, &partitions)?;
    if job.over == Over::Anything {
        // What is written last stays: so the first path comes last.
        inputs.sort_by_key(|input| std::cmp::Reverse(input.argument));
    }
    let inputs: Arc<[Input]> = inputs.into();
    let has_stdin = inputs.iter().any(|input| input.origin == Origin::Stdin);
    let are_kept = inputs.iter().all(Input::is_kept);
    if job.sweep {
        if !are_kept {
            return Err(Trouble::Usage(
                "--sweep reads the export again: standard input cannot be, and a topic may have been compacted".into(),
            ));
        }
        sweep::refuse_unclear(&entity, &settings)?;
    }
    let only: Arc<[Entity]> = Arc::from([entity.clone()]);
    let topics = topics_of(&entity);
    let as_of_ms = as_of(&job, &inputs)?;
    let mut pipeline = pipelines(Arc::clone(&only));

    let mut follow = None;
    let mut known = Known::of_settings(&entity, topics.first().map_or("", String::as_str));
    if let Some(as_of_ms) = as_of_ms.filter(|_| !job.dry_run) {
        let reader = TopicReader::open(
            &settings.kafka,
            &topics,
            From::Time(as_of_ms.saturating_sub(CLOCKS_MS)),
            KAFKA_WITHIN,
        )
        .map_err(Trouble::Kafka)?;
        for topic in reader.missing() {
            watch.note(&format!("there is no topic {topic}: nothing protects what changed since the export"));
        }
        refuse_gaps(&reader)?;
        if !reader.parts().is_empty() {
            known = Known::learn(&entity, &settings.kafka, &topics, &mut pipeline, &supply, KAFKA_WITHIN)
                .map_err(Trouble::Kafka)?;
            follow = Some((reader, pipelines(Arc::clone(&only)), Arc::clone(&supply)));
        }
    } else if job.as_of == AsOf::Unprotected {
        watch.note("without --as-of, nothing protects what changed since the export");
    }
    if !known.from_topics && !job.dry_run {
        watch.note("no change event tells how rows look: columns and types are those of the files");
    }
    known.shape.absent_is_null |= job.absent_is_null;
    job.reading.columns = columns_of(&entity, &known);
    let needed = job.reading.columns.clone();

    let lifetime = job.ttl.map(|(ttl, jitter)| Lifetime::after(ttl).jitter(jitter));
    let last_counts = job.over == Over::Anything;
    let topics = (!partitions.is_empty()).then(|| {
        let kafka = settings.kafka.clone();
        Arc::new(TopicInputs { kafka, entity: entity.clone(), pipelines, supply })
    });
    let mapper = Mapper { pipeline, known, as_of_ms, lifetime, last_counts, topics };
    let Sampled { mapper, sample, rows_all, missing } = sampled(mapper, &inputs, &job, are_kept)?;
    let missing: Vec<String> = missing
        .into_iter()
        .filter(|column| needed.as_ref().is_none_or(|needed| needed.contains(column)))
        .collect();
    for column in &missing {
        watch.note(&format!(
            "the export has no column {column:?}, which the topic's rows have: keys whose value needs it are not written"
        ));
    }

    let mut checkpoint = None;
    let mut goes_on = false;
    if !has_stdin && !job.dry_run {
        (checkpoint, goes_on) = checkpointed(&job, &entity, &inputs, as_of_ms)?;
    }
    let bytes_all = inputs.iter().map(Input::bytes).fold(0, u64::saturating_add);
    Ok(Prepared {
        job,
        settings,
        entity,
        inputs,
        bytes_all: if are_kept { bytes_all } else { 0 },
        mapper,
        follow,
        sample,
        rows_all,
        missing,
        checkpoint,
        goes_on,
    })
}

impl Prepared {
    /// What it would take, against how full the masters are; `None` where the number of rows is not known.
    pub(super) fn fit(&self, loads: &[NodeLoad]) -> Option<Fit> {
        Some(Fit::new(self.sample, self.rows_all?, loads, self.job.fill))
    }
}

fn entity_of(job: &Job, settings: &Settings) -> Result<Entity, Trouble> {
    let found = settings.entities.iter().find(|entity| *entity.name == job.entity);
    let Some(entity) = found else {
        let names: Vec<&str> = settings.entities.iter().map(|entity| &*entity.name).collect();
        return Err(Trouble::Usage(format!(
            "there is no entity {:?}; the settings have {}",
            job.entity,
            names.join(", ")
        )));
    };
    if entity.handler.keys().iter().all(|key| key.is_invalidated()) {
        return Err(Trouble::Usage(format!("{:?} writes no value: there is nothing to load", job.entity)));
    }
    Ok(entity.clone())
}

/// The entity's topics as a consumer names them.
fn topics_of(entity: &Entity) -> Vec<String> {
    match &entity.topics {
        Topics::Names(names) => names.clone(),
        Topics::Pattern(pattern) => {
            let inner = pattern.as_str().trim_start_matches("^(?:");
            vec![format!("^{}", inner.strip_suffix(")$").unwrap_or(inner))]
        }
    }
}

/// The export's time, Unix milliseconds.
fn as_of(job: &Job, inputs: &[Input]) -> Result<Option<i64>, Trouble> {
    match job.as_of {
        AsOf::Unprotected => Ok(None),
        AsOf::At(ms) => {
            let now_ms = SystemClock::new().now().unix_ms;
            if ms > now_ms.saturating_add(CLOCKS_MS) {
                return Err(Trouble::Usage("--as-of lies in the future".to_owned()));
            }
            Ok(Some(ms))
        }
        AsOf::FileTime => {
            let mut oldest: Option<i64> = None;
            for input in inputs {
                let modified = input.modified_ms().ok_or_else(|| {
                    Trouble::Usage(format!("{} has no file time: say --as-of TIME", input.name()))
                })?;
                oldest = Some(oldest.map_or(modified, |oldest| oldest.min(modified)));
            }
            Ok(oldest)
        }
    }
}

/// How many partitions each of these topics has.
fn partitions_of(topics: &[String], settings: &Settings) -> Result<BTreeMap<String, i32>, Trouble> {
    let mut partitions = BTreeMap::new();
    if !topics.is_empty() {
        let reader = TopicReader::open(&settings.kafka, topics, From::Earliest, KAFKA_WITHIN);
        for part in reader.map_err(Trouble::Kafka)?.parts() {
            *partitions.entry(part.name.topic.clone()).or_insert(0) += 1;
        }
    }
    Ok(partitions)
}

fn refuse_gaps(reader: &TopicReader) -> Result<(), Trouble> {
    match reader.parts().iter().find(|part| part.may_lack_records()) {
        None => Ok(()),
        Some(part) => Err(Trouble::Usage(format!(
            "{} does not reach back to the export's time (partition {} begins at position {}): what changed in between \
             is not known. Take a newer export, or say --unprotected",
            part.name.topic, part.name.partition, part.low
        ))),
    }
}

struct Sampled {
    mapper: Mapper,
    sample: Sample,
    rows_all: Option<u64>,
    missing: Vec<String>,
}

/// Reads the first rows of some inputs. Standard input cannot be read twice, and how many of a topic's records count
/// nobody knows before: nothing is told of them.
fn sampled(mut mapper: Mapper, inputs: &[Input], job: &Job, are_kept: bool) -> Result<Sampled, Trouble> {
    let mut sample = Sample::default();
    let mut missing = Vec::new();
    if !are_kept {
        return Ok(Sampled { mapper, sample, rows_all: None, missing });
    }
    let taken = inputs.len().clamp(1, SAMPLE_INPUTS);
    let rows_each = SAMPLE_ROWS / u64::try_from(taken).unwrap_or(1);
    // Rows and bytes of the files that were looked at.
    let (mut rows, mut bytes) = (0_u128, 0_u128);
    for number in 0..taken {
        let Some(input) = inputs.get(number * inputs.len() / taken) else { continue };
        let file_bytes = input.bytes();
        let one: Arc<[Input]> = Arc::from([input.clone()]);
        let reach = Arc::new(Reach::default());
        let mut feed = Feed::new(one, job.reading.clone(), mapper, Place::default(), reach);
        let failed = |error: &dyn std::error::Error| Trouble::Input(chain(error));
        feed.prepare().map_err(|error| failed(&error))?;
        for column in feed.columns().into_iter().flat_map(|names| feed.missing_in(names)) {
            if !missing.contains(&column) {
                missing.push(column);
            }
        }
        let counted = feed.measure().0;
        let mut seen = 0;
        let mut read = 0;
        let enough = |seen: u64, read: u64| {
            seen >= rows_each
                && (counted.is_some() || read >= SAMPLE_BYTES || seen >= rows_each * SAMPLE_MORE)
        };
        while !enough(seen, read) {
            let Some(chunk) = feed.next_chunk().map_err(|error| failed(&error))? else {
                read = file_bytes;
                break;
            };
            seen += chunk.rows;
            read = feed.measure().1.clamp(1, file_bytes.max(1));
            sample.rows += chunk.rows;
            sample.keys += u64::try_from(chunk.puts.len()).unwrap_or(0);
            sample.bytes = chunk.puts.iter().map(fit::bytes_of).fold(sample.bytes, u64::saturating_add);
        }
        let in_file = match counted {
            Some(count) => u128::from(count),
            None => u128::from(seen) * u128::from(file_bytes) / u128::from(read.max(1)),
        };
        rows += in_file;
        bytes += u128::from(file_bytes);
        mapper = feed.into_mapper();
    }
    let bytes_all: u128 = inputs.iter().map(|input| u128::from(input.bytes())).sum();
    let rows_all = u64::try_from(rows * bytes_all / bytes.max(1)).ok();
    Ok(Sampled { mapper, sample, rows_all, missing })
}

type Kept = (Option<(PathBuf, Checkpoint)>, bool);

/// The checkpoint of this load, and whether one was there.
fn checkpointed(
    job: &Job,
    entity: &Entity,
    inputs: &[Input],
    as_of_ms: Option<i64>,
) -> Result<Kept, Trouble> {
    let first = job.paths.first().map_or("", String::as_str);
    let path = match &job.checkpoint {
        Some(path) => path.clone(),
        None => Checkpoint::beside(Path::new(first), &entity.name),
    };
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let identity = input.identity();
        files.push(
            identity.map_err(|error| Trouble::Input(format!("{}: cannot be read: {error}", input.name())))?,
        );
    }
    let asked = format!(
        "as of {}, {}, {}",
        as_of_ms.map_or("no time".to_owned(), |ms| format!("{ms} ms")),
        if job.over == Over::Anything { "overwriting" } else { "if absent" },
        job.ttl.map_or("its own lifetimes".to_owned(), |(ttl, jitter)| format!("{ttl:?} ± {jitter}")),
    );
    let fresh = Checkpoint::new(&entity.name, asked, files, SystemClock::new().now().unix_ms);
    let held = if job.restart { None } else { fresh.resume(&path)? };
    let goes_on = held.is_some();
    let checkpoint = held.unwrap_or(fresh);
    // Now, and not at the first row: a place that cannot be written to is to be known before anything is done.
    checkpoint.save(&path)?;
    Ok((Some((path, checkpoint)), goes_on))
}
