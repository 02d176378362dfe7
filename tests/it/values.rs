//! Values as readers get them: the example's entity, and frames that others' tools unpack.

use std::io::Write as _;
use std::process::{Command, Stdio};

use stoker::entity::packing::Packing;
use stoker::mutation::{Compression, StringKind, Value};

use crate::support::command::stoker;

const SETTINGS: &str = "examples/catalog/stoker.toml";

#[test]
fn the_catalog_does_what_is_expected_of_it() {
    let tested = stoker(&["test", "-c", SETTINGS, "examples/catalog"], "");
    assert_eq!((tested.code, tested.err.as_str()), (0, ""), "{}", tested.out);
    let expected = std::fs::read_to_string("examples/catalog/items.expected.ndjson").unwrap();
    for part in [
        r#""encoding":"msgpack""#,
        r#""compress":"zstd""#,
        r#""key":"item:{7}:view""#,
        r#"{"op":"delete","key":"items-in:wien","kind":"member","member":"7"}"#,
        r#"{"op":"write","key":"items-by-price","kind":"member","member":"7","score":"12.50"}"#,
    ] {
        assert!(expected.contains(part), "{part}");
    }
}

#[test]
fn the_catalog_has_no_warning() {
    let checked = stoker(&["check", "--offline", "--output", "json", "-c", SETTINGS], "");
    assert_eq!(checked.code, 0, "{}", checked.err);
    let doubtful: Vec<&str> =
        checked.out.lines().filter(|line| !line.contains(r#""level":"note""#)).collect();
    assert!(doubtful.is_empty(), "{doubtful:#?}");
}

fn packed(packing: Packing, kind: StringKind, plain: &[u8]) -> Vec<u8> {
    match packing.pack(Value::String { kind, bytes: plain.to_vec() }).unwrap() {
        Value::String { bytes, .. } => bytes,
        Value::Hash(_) | Value::Member { .. } => panic!("a string stays one"),
    }
}

fn compressed(compression: Compression, kind: StringKind, plain: &[u8]) -> Vec<u8> {
    packed(Packing { msgpack: false, compress: Some((compression, 100)) }, kind, plain)
}

/// Runs a program over these bytes.
fn piped(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {args:?}");
    output.stdout
}

fn plain() -> String {
    let tags: Vec<String> = (0..200).map(|n| format!("\"tag {}\"", n % 7)).collect();
    format!(r#"{{"id":7,"name":"Ünïcode","price":"12.50","tags":[{}]}}"#, tags.join(","))
}

#[test]
fn frames_are_unpacked_by_the_tools_of_their_makers() {
    let json = plain();
    for (program, compression) in [("zstd", Compression::Zstd), ("lz4", Compression::Lz4)] {
        for kind in [StringKind::Json, StringKind::Text, StringKind::Bytes] {
            let bytes = compressed(compression, kind, json.as_bytes());
            assert!(bytes.len() < json.len() / 2, "{program}: {} bytes", bytes.len());
            assert_eq!(piped(program, &["-d", "-c"], &bytes), json.as_bytes(), "{program}");
            // A frame of the tool's own is plain bytes, and comes back as it was.
            let photo = piped(program, &["-c"], json.as_bytes());
            let twice = compressed(compression, StringKind::Bytes, &photo);
            assert_eq!(piped(program, &["-d", "-c"], &twice), photo, "{program}");
        }
    }
}

/// Stands for the packages that the example imports, by the tools of the formats' makers.
const ZSTANDARD: &str = "import subprocess
class ZstdDecompressor:
    def decompress(self, value):
        return subprocess.run(['zstd', '-dc'], input=value, stdout=subprocess.PIPE, check=True).stdout
";
const LZ4_FRAME: &str = "import subprocess
def decompress(value):
    return subprocess.run(['lz4', '-dc'], input=value, stdout=subprocess.PIPE, check=True).stdout
";

/// Reads as the documentation's reader in Python does, and writes the JSON with its members as they come.
#[test]
fn the_documented_reader_in_python_reads_what_was_written() {
    let text = std::fs::read_to_string("docs/values.md").unwrap();
    let (_, rest) = text.split_once("```python\n").unwrap();
    let (reader, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lz4")).unwrap();
    for (name, module) in [("zstandard.py", ZSTANDARD), ("lz4/__init__.py", ""), ("lz4/frame.py", LZ4_FRAME)]
    {
        std::fs::write(folder.path().join(name), module).unwrap();
    }
    let script = format!(
        "import sys\nsys.path.insert(0, {:?})\n{reader}\n\
         shown = json.dumps(read(sys.stdin.buffer.read()), ensure_ascii=False, separators=(',', ':'))\n\
         sys.stdout.buffer.write(shown.encode())\n",
        folder.path()
    );
    let json = plain();
    for value in [
        json.clone().into_bytes(),
        compressed(Compression::Zstd, StringKind::Json, json.as_bytes()),
        compressed(Compression::Lz4, StringKind::Json, json.as_bytes()),
    ] {
        let read = piped("python3", &["-c", &script], &value);
        assert_eq!(String::from_utf8(read).unwrap(), json);
    }
}
