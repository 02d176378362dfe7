//! Price of an offer, read by the product page: a handler in Rust.
//!
//! Key `price:v1:{offer_id}` · value JSON `{"cents":1999,"currency":"EUR"}` · lives until the offer ends, at
//! most 7 days. Offers that are withdrawn are not cached.
//!
//! In `examples/price/stoker.toml` the entity says `handler = "price"` instead of its writes. Key changes,
//! deletes, tombstones and the version guard are the engine's: the handler only says what a row's keys hold.
//! The binary has every command of `stoker`:
//! `cargo run --example price_handler -- explain -c examples/price/stoker.toml examples/price/offers.records.ndjson`.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use stoker::entity::template::TemplateError;
use stoker::entity::{EntityHandler, Handlers, KeyTemplate, Lifetime, RowImage, Values};
use stoker::error::HandleError;
use stoker::mutation::Value;

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

fn main() -> ExitCode {
    match handlers() {
        Ok(handlers) => stoker::cli::main(handlers),
        Err(error) => {
            eprintln!("a key template is wrong: {error}");
            ExitCode::from(2)
        }
    }
}
