//! Properties over random and mutated records.

use proptest::prelude::*;

use super::*;
use crate::change::Op;

/// Real shapes, to be cut and mixed.
fn seeds() -> Vec<String> {
    let typed = r#"{"schema":{"type":"struct","name":"a.Envelope","fields":[{"type":"struct","field":"after","fields":[{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"n"}]}]},"payload":{"before":null,"after":{"n":"MDk="},"source":{"connector":"mysql","file":"b.1","pos":4},"op":"c"}}"#;
    vec![
        typed.to_owned(),
        envelope("u", r#"{"id":7}"#, r#"{"id":7,"a":[95,95],"m":{"x":"\u00e9"}}"#),
        r#"{"id":7,"__deleted":"true","__op":"d","__lsn":5,"__source_sequence":"[\"1\",\"2\"]"}"#.to_owned(),
        r#"{"status":"END","id":"1","event_count":2,"data_collections":[],"ts_ms":1}"#.to_owned(),
        r#"{"schema":null,"payload":{"id":"\uD83E\uDD80"}}"#.to_owned(),
    ]
    .into_iter()
    .chain(super::formats::SAMPLES.iter().map(|sample| sample.2.to_owned()))
    .collect()
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let seed = (prop::sample::select(seeds()), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (
        seed,
        prop::sample::select(seeds()),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    )
        .prop_map(|((seed, from, to), other, edits)| {
            let mut bytes = seed.into_bytes();
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            if from < to && to - from < 20 {
                bytes.splice(from..to, other.bytes().take(to - from));
            }
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
}

proptest! {
    #[test]
    fn arbitrary_bytes_give_an_answer_and_never_a_panic(
        key in prop::option::of(prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..40)]),
        values in prop::collection::vec(prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..80)], 1..4),
    ) {
        for format in FORMATS {
            let mut decoder = Decoder::new(format);
            for value in &values {
                let whole = Record { key: key.as_deref(), value: Some(value), ..record(None, None) };
                if let Ok(Decoded::Changes(changes)) = decoder.decode(&whole) {
                    for change in &changes {
                        prop_assert!(!change.tombstone || change.key.is_some());
                        prop_assert_eq!(change.after.is_some(), matches!(change.op, Op::Create | Op::Update | Op::Read));
                        let images = [&change.key, &change.before, &change.after];
                        for column in images.into_iter().flatten().flat_map(|row| &row.columns) {
                            if let Cell::Present(Typed { raw: Raw::Json(token), .. }) = column.cell {
                                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(token).is_ok());
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_plain_row_comes_back_column_by_column(
        columns in prop::collection::btree_map("[a-z \"é.]{0,6}", prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
            prop::collection::vec(any::<u64>(), 0..3).prop_map(serde_json::Value::from),
        ], 0..90),
    ) {
        let text = serde_json::to_string(&columns).unwrap();
        let mut decoder = Decoder::new(Format::Rows);
        let whole = record(None, Some(&text));
        let Ok(Decoded::Changes(changes)) = decoder.decode(&whole) else { panic!("no row") };
        let row = changes[0].after.as_ref().unwrap();
        prop_assert_eq!(row.columns.len(), columns.len());
        for ((name, expected), (found, cell)) in columns.iter().zip(row.cells()) {
            prop_assert_eq!(found, name.as_str());
            match cell {
                Cell::Null => prop_assert!(expected.is_null()),
                Cell::Present(Typed { raw: Raw::Json(token), .. }) => {
                    prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(token).unwrap(), expected);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
