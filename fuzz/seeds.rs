//! Writes the first inputs of each target into `fuzz/corpus`, out of the fixtures and the examples. `make fuzz` runs it.
//!
//! Of a captured topic only the first records, and none over 8 KiB: the fuzzer makes the rest.

use std::collections::HashMap;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

// Brings what the instrumented code calls.
use libfuzzer_sys as _;
use stoker::cli::explain;

const BYTES_MAX: usize = 8192;
const RECORDS_A_TOPIC: usize = 2;

fn main() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz lies in the repository");
    let mut seeds = Seeds { corpus: top.join("fuzz/corpus"), counts: HashMap::new() };
    let schemas = schemas(&top.join("tests/fixtures/debezium-3.7-postgres-15/schemas.json"));
    for path in files(&top.join("tests/fixtures"), ".records.ndjson") {
        let mut reader = explain::open(&path).expect("a fixture can be opened");
        let mut taken = 0;
        while let (true, Ok(Some(record))) = (taken < RECORDS_A_TOPIC, reader.next_record()) {
            let Some(value) = record.value else { continue };
            let key = record.key.unwrap_or_default();
            taken += 1;
            match value.strip_prefix(&[0]).and_then(<[u8]>::split_first_chunk::<4>) {
                Some((id, datum)) => {
                    let Some(schema) = schemas.get(&u32::from_be_bytes(*id).to_string()) else { continue };
                    seeds.add("avro", &[schema.as_bytes(), datum]);
                    seeds.add_framed([b"", b""], &value);
                }
                None => seeds.add("json", &[&key, &value]),
            }
        }
    }
    for schema in JSON_SCHEMAS {
        seeds.add("json_schema", &[schema.as_bytes(), br#"{"id":7,"balance":12.5,"home":{"zip":null}}"#]);
    }
    for (schema, datum) in PROTOBUF {
        seeds.add("protobuf", &[schema.as_bytes(), datum]);
    }
    for [first, second, value] in FRAMED {
        seeds.add_framed([first, second], value);
    }
    for template in TEMPLATES {
        seeds.add("template", &[template.as_bytes(), ROW]);
    }
    for condition in CONDITIONS {
        seeds.add("condition", &[condition.as_bytes(), ROW]);
    }
    for path in files(top, ".toml") {
        let is_settings =
            !path.components().any(|part| ["target", "fuzz"].iter().any(|name| part.as_os_str() == *name));
        if let (true, Ok(text)) = (is_settings, fs::read_to_string(&path)) {
            seeds.add("settings", &[text.as_bytes(), br#"{"id":7,"email":"ann@x","status":"active"}"#]);
        }
    }
    let mut counts: Vec<_> = seeds.counts.into_iter().collect();
    counts.sort();
    for (target, count) in counts {
        println!("{target}: {count} seeds");
    }
}

struct Seeds {
    corpus: PathBuf,
    counts: HashMap<&'static str, usize>,
}

impl Seeds {
    fn add(&mut self, target: &'static str, parts: &[&[u8]]) {
        self.write(target, &parts.join(&0));
    }

    /// Headers and a value, each header behind its length.
    fn add_framed(&mut self, headers: [&[u8]; 2], value: &[u8]) {
        let headers = headers.map(|header| {
            let length = u8::try_from(header.len()).expect("headers are short");
            [&[length], header].concat()
        });
        self.write("framing", &[&headers.concat(), value].concat());
    }

    fn write(&mut self, target: &'static str, input: &[u8]) {
        if input.len() > BYTES_MAX {
            return;
        }
        let count = self.counts.entry(target).or_default();
        *count += 1;
        let folder = self.corpus.join(target);
        fs::create_dir_all(&folder).expect("the corpus can be written");
        fs::write(folder.join(format!("seed-{count:03}")), input).expect("the corpus can be written");
    }
}

fn schemas(path: &Path) -> HashMap<String, String> {
    let file = fs::File::open(path).expect("the captures have schemas");
    let stored: HashMap<String, serde_json::Value> =
        serde_json::from_reader(BufReader::new(file)).expect("they are JSON");
    let schema =
        |(id, answer): (String, serde_json::Value)| Some((id, answer.get("schema")?.as_str()?.to_owned()));
    stored.into_iter().filter_map(schema).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "corpus" {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

const JSON_SCHEMAS: [&str; 2] = [
    r##"{"type":"object","title":"shop.public.customers.Value","properties":{"id":{"type":"integer","connect.type":"int32"},"balance":{"oneOf":[{"type":"null"},{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.type":"bytes","connect.parameters":{"scale":"2"}}]},"home":{"$ref":"#/definitions/Address"}},"definitions":{"Address":{"type":"object","properties":{"zip":{"type":["null","string"]}}}}}"##,
    r##"{"type":"object","properties":{"id":{"type":"integer"},"home":{"type":"array","items":{"$ref":"#"}}}}"##,
];

const PROTOBUF: [(&str, &[u8]); 4] = [
    (
        r#"syntax = "proto3"; package a.b; message Envelope { Value before = 1; Value after = 2; Source source = 3; string op = 4;
message Value { int32 id = 1; optional string name = 2; repeated int64 tags = 3; map<string, double> rates = 4; }
message Source { string connector = 1; string table = 2; int64 ts_ms = 3; int64 lsn = 4; } }"#,
        b"\0\x12\x0d\x08\x07\x12\x03Ann\x1a\x02\x01\x02\x22\x00\x1a\x0e\x0a\x0apostgresql\x20\x05\x22\x01c",
    ),
    (
        r#"syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto"; import "google/protobuf/wrappers.proto";
import "google/type/date.proto"; import "confluent/type/decimal.proto";
message Value { google.protobuf.Timestamp at = 1; google.type.Date on = 2; confluent.type.Decimal d = 3; google.protobuf.Struct s = 4; google.protobuf.UInt64Value u = 5; }"#,
        b"\0\x0a\x04\x08\x01\x10\x05\x12\x07\x08\xe8\x0f\x10\x02\x18\x01\x1a\x06\x0a\x02\x30\x39\x18\x02\x22\x07\x0a\x05\x0a\x01k\x12\x00\x2a\x02\x08\x01",
    ),
    (
        r#"message M { required int32 a = 1; optional group G = 2 { repeated fixed32 f = 3 [packed = true]; } oneof o { M m = 4; bytes b = 5; } enum E { A = 0; B = -1; } repeated E e = 6; extensions 100 to 199; }"#,
        b"\0\x08\x01\x13\x1a\x04\x01\0\0\0\x14\x2a\x01\xff\x32\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ),
    (r#"syntax = "proto3"; message A { int32 a = 1; message B { map<int32, A> m = 1; } }"#, b"\x04\0\0\x0a\x06\x08\x07\x12\x02\x08\x01"),
];

const FRAMED: [[&[u8]; 3]; 5] = [
    [b"", b"", b"\0\0\0\0\x01\0\x08\x07"],
    [b"__value_schema_id=\x01gggggggggggggggg\x04\0\0", b"", b"\x0a\x01x"],
    [b"apicurio.value.contentId=\0\0\0\0\0\0\0\x02", b"", b"\x0e"],
    [b"apicurio.value.globalId=\0\0\0\0\0\0\0\x01", b"apicurio.protobuf.type=A", b"\x08\x07"],
    [b"", b"", b"\x01gggggggggggggggg\0\x08\x07"],
];

const ROW: &[u8] =
    br#"{"id":7,"email":" Ann@X ","status":"active","balance":12.5,"tags":["a"],"at":"2024-11-01T09:57:00.25","n":null}"#;

const TEMPLATES: [&str; 7] = [
    "user:{id}",
    "{{{email|trim|lower}}}:{id|hash}",
    "{at|year}-{at|month}",
    "{email|url}:{email|escape}",
    "{n}{missing}",
    "{{ id }} {% if email %}{{ email | upper }}{% endif %}",
    "{% for c in email %}{{ loop.index }}{{ c }}{% endfor %}",
];

const CONDITIONS: [&str; 5] = [
    "after.status == 'active' && after.balance > 0",
    "op == 'd' || before.email != after.email",
    "has(after.deleted_at) ? after.deleted_at != null : false",
    "after.tags.exists(t, t.startsWith('a'))",
    "size(after.name) < 10 && int(after.n) in [1, 2, 3]",
];
