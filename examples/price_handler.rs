//! Price of an offer, read by the product page: a handler in Rust.
//!
//! Key `price:v1:{offer_id}` · value JSON `{"cents":1999,"currency":"EUR"}` · lives until the offer ends, at
//! most 7 days. Offers that are withdrawn are not cached.
//!
//! In `stoker.toml` the entity says `handler = "price"` instead of its writes. Key changes, deletes,
//! tombstones and the version guard are the engine's: the handler only says what a row's keys hold.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stoker::decode::Format;
use stoker::entity::template::TemplateError;
use stoker::entity::{
    Entity, EntityHandler, Handlers, KeyTemplate, Lifetime, ReplicaIdentity, RowImage, Topics, Values,
};
use stoker::error::HandleError;
use stoker::mutation::Value;
use stoker::pipeline::{Emitted, Pipeline};
use stoker::record::{AsRecord, OwnedRecord};
use stoker::types::{Kind, RenderStyle, Unit};

/// How long a price may stay cached without a change.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Position of the one key in [`PriceHandler::keys`].
const PRICE: usize = 0;

#[derive(Debug)]
struct PriceHandler {
    keys: [KeyTemplate; 1],
}

#[derive(Serialize)]
struct Price {
    cents: u64,
    currency: String,
}

impl PriceHandler {
    fn new() -> Result<PriceHandler, TemplateError> {
        Ok(PriceHandler { keys: [KeyTemplate::parse("price:v1:{offer_id}")?] })
    }
}

impl EntityHandler for PriceHandler {
    fn keys(&self) -> &[KeyTemplate] {
        &self.keys
    }

    fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
        if row.get::<bool>("withdrawn")? {
            return Ok(());
        }
        let price = Price { cents: row.get("cents")?, currency: row.text("currency")? };
        let lifetime = match row.unix_ms("ends_at")? {
            Some(ends_at) => Lifetime::until(ends_at).at_most(MAX_AGE),
            None => Lifetime::after(MAX_AGE).jitter(0.1),
        };
        out.write(PRICE, Value::json(&price)?, lifetime);
        Ok(())
    }
}

/// The handlers of this binary, by the names that the settings use.
fn handlers() -> Result<Handlers, TemplateError> {
    Ok(Handlers::new().with("price", PriceHandler::new()?))
}

/// Shows what the handler makes of one record.
fn main() -> ExitCode {
    let Ok(handlers) = handlers() else { return ExitCode::from(2) };
    let Some(handler) = handlers.get("price") else { return ExitCode::from(2) };
    let offers = Entity {
        name: "price".into(),
        topics: Topics::Names(vec!["shop.public.offers".into()]),
        table: None,
        format: Format::Auto,
        key_columns: None,
        replica_identity: ReplicaIdentity::Default,
        columns: vec![("ends_at".into(), Kind::Instant(Unit::Millis))],
        render: RenderStyle::default(),
        handler: Arc::clone(handler),
    };
    let row = r#"{"offer_id":7,"cents":1999,"currency":"EUR","ends_at":1893456000000,"withdrawn":false}"#;
    let record = OwnedRecord {
        topic: "shop.public.offers".into(),
        key: Some(r#"{"offer_id":7}"#.into()),
        value: Some(row.into()),
        ..OwnedRecord::default()
    };
    let mut written = 0;
    Pipeline::new(Arc::new([offers])).handle(&record.as_record(), &mut |emitted| match emitted {
        Emitted::Mutations { mutations, .. } => {
            for mutation in mutations {
                println!("{}: {:?}", mutation.key, mutation.effect);
                written += 1;
            }
        }
        Emitted::Ignored { why, .. } => println!("ignored: {}", why.as_str()),
        Emitted::Failed(failure) => println!("failed: {}", failure.detail),
    });
    if written == 1 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
