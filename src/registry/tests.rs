use std::time::Duration;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;
use crate::decode::{SchemaKind, Side, Wire};
use crate::settings::{Secret, TlsSettings};

/// A server that answers each path with that status and body, to those who show the login; ends with the test.
fn serve(login: Option<&'static str>, answers: Vec<(&'static str, u16, String)>) -> RegistryUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut chunk).unwrap();
                assert!(read > 0, "the request ends early");
                request.extend_from_slice(&chunk[..read]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap();
            let let_in = login.is_none_or(|login| request.contains(&format!("authorization: {login}\r\n")));
            let known = answers.iter().find(|(known, ..)| *known == path);
            let (status, body) = match known {
                _ if !let_in => (401, "{}".to_owned()),
                Some((_, status, body)) => (*status, body.clone()),
                None => (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned()),
            };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    RegistryUrl { tls: false, host: "127.0.0.1".into(), port, path: String::new() }
}

fn settings(urls: Vec<RegistryUrl>) -> RegistrySettings {
    RegistrySettings {
        urls,
        username: None,
        password: None,
        token: None,
        tls: TlsSettings::default(),
        timeout: Duration::from_secs(5),
        wire: Wire::default(),
    }
}

fn fetch(settings: RegistrySettings, id: SchemaId) -> Result<RegisteredSchema, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = RegistryClient::new(settings).unwrap();
    runtime.block_on(client.fetch(&SchemaRef { id, side: Side::Value }))
}

fn answer(schema: &str, more: &str) -> String {
    format!(r#"{{"schema":{}{more}}}"#, serde_json::to_string(schema).unwrap())
}

#[test]
fn a_schema_comes_with_what_it_refers_to_in_an_order_in_which_it_can_be_read() {
    let reference = |name: &str, subject: &str| {
        format!(r#","references":[{{"name":"{name}","subject":"{subject}","version":1}}]"#)
    };
    let url = serve(
        None,
        vec![
            ("/schemas/ids/7", 200, answer("\"a.B\"", &reference("a.B", "b/é"))),
            ("/subjects/b%2F%C3%A9/versions/1?deleted=true", 200, answer("{b}", &reference("a.C", "c"))),
            ("/subjects/c/versions/1?deleted=true", 200, answer("{c}", &reference("a.B", "b/é"))),
            (
                "/schemas/guids/07070707-0707-0707-0707-070707070707",
                200,
                answer("x", r#","schemaType":"JSON""#),
            ),
        ],
    );
    let found = fetch(settings(vec![url.clone()]), SchemaId::Number(7)).unwrap();
    let references = [("a.C", "{c}"), ("a.B", "{b}")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!((found.kind, found.text.as_str()), (SchemaKind::Avro, "\"a.B\""));
    assert_eq!(found.references, references);
    assert_eq!(fetch(settings(vec![url]), SchemaId::Guid([7; 16])).unwrap().kind, SchemaKind::Json);
}

#[test]
fn apicurio_s_own_api_gives_texts_and_their_kind_is_seen() {
    let proto = "syntax = \"proto3\"; message M {}";
    let url = serve(
        None,
        vec![
            ("/apis/registry/v2/ids/globalIds/1", 200, proto.to_owned()),
            ("/apis/registry/v2/ids/globalIds/1/references", 200, "[]".to_owned()),
            ("/apis/registry/v2/ids/contentIds/2", 200, " \"int\"".to_owned()),
            ("/apis/registry/v2/ids/contentIds/2/references", 200, "[]".to_owned()),
            ("/apis/registry/v2/ids/globalIds/3", 200, "\n// Of orders.\npackage t;".to_owned()),
            ("/apis/registry/v2/ids/globalIds/3/references", 200, "[]".to_owned()),
        ],
    );
    let kind = |id| fetch(settings(vec![url.clone()]), id).unwrap().kind;
    assert_eq!(kind(SchemaId::ApicurioGlobal(1)), SchemaKind::Protobuf);
    assert_eq!(kind(SchemaId::ApicurioContent(2)), SchemaKind::Avro);
    assert_eq!(kind(SchemaId::ApicurioGlobal(3)), SchemaKind::Protobuf);
}

#[test]
fn only_the_registry_s_own_word_is_not_found() {
    let missing = r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned();
    let url = serve(
        None,
        vec![
            ("/schemas/ids/1", 404, missing),
            ("/schemas/ids/2", 503, String::new()),
            ("/schemas/ids/3", 429, String::new()),
            ("/schemas/ids/4", 200, "<html>".to_owned()),
            ("/schemas/ids/5", 302, String::new()),
        ],
    );
    let place = url.to_string();
    let world = |what| Err(FetchError::World { place: place.clone(), what });
    for (id, expected) in [
        (1, Err(FetchError::NotFound(UnknownSchema { place: place.clone() }))),
        (2, world(WorldFault::Status(503))),
        (3, world(WorldFault::Status(429))),
        (4, world(WorldFault::Protocol)),
        (5, world(WorldFault::Status(302))),
        (6, world(WorldFault::NoApi)),
    ] {
        assert_eq!(fetch(settings(vec![url.clone()]), SchemaId::Number(id)), expected, "{id}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = RegistryUrl { port: closed, ..url.clone() };
    let place = closed.to_string();
    assert_eq!(
        fetch(settings(vec![closed.clone()]), SchemaId::Number(1)),
        Err(FetchError::World { place, what: WorldFault::Unreachable })
    );
    assert!(matches!(fetch(settings(vec![closed, url]), SchemaId::Number(1)), Err(FetchError::NotFound(_))));
}

/// Apicurio's own API says nothing of the kind, which the text has to show.
#[test]
fn a_schema_of_apicurio_s_own_api_shows_its_kind() {
    let root = "/apis/registry/v2/ids/globalIds";
    let texts = [
        (r#"{"type":"struct","fields":[],"optional":false,"name":"s.Key"}"#, SchemaKind::Connect),
        (r#"{"type":"int64","optional":true}"#, SchemaKind::Connect),
        (r#"{"type":"record","name":"r","fields":[{"name":"optional","type":"int"}]}"#, SchemaKind::Avro),
        (r#""long""#, SchemaKind::Avro),
        (r#"["null","long"]"#, SchemaKind::Avro),
        (r#"{"type":"object","properties":{"optional":{"type":"boolean"}}}"#, SchemaKind::Json),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, SchemaKind::Json),
    ];
    for (text, kind) in texts {
        let paths = [format!("{root}/7"), format!("{root}/7/references")].map(|path| &*path.leak());
        let [schema, references] = paths;
        let url = serve(None, vec![(schema, 200, text.into()), (references, 200, "[]".into())]);
        let url = RegistryUrl { path: "/apis/ccompat/v7".into(), ..url };
        let found = fetch(settings(vec![url]), SchemaId::ApicurioGlobal(7)).unwrap();
        assert_eq!((found.kind, found.text.as_str()), (kind, text));
    }
}

#[test]
fn the_login_is_basic_or_bearer_and_never_shown() {
    let answers = || vec![("/schemas/ids/1", 200, answer("\"int\"", ""))];
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let basic = RegistrySettings {
        username: Some("u".into()),
        password: secret("p:w"),
        ..settings(vec![serve(Some("Basic dTpwOnc="), answers())])
    };
    let bearer =
        RegistrySettings { token: secret("t0k"), ..settings(vec![serve(Some("Bearer t0k"), answers())]) };
    let shown = format!("{:?}", RegistryClient::new(bearer.clone()).unwrap());
    assert!(!shown.contains("t0k"), "{shown}");
    for settings in [basic, bearer] {
        assert!(fetch(settings.clone(), SchemaId::Number(1)).is_ok());
        let without = RegistrySettings { username: None, password: None, token: None, ..settings };
        let refused = fetch(without, SchemaId::Number(1));
        assert!(
            matches!(refused, Err(FetchError::World { what: WorldFault::Login(401), .. })),
            "{refused:?}"
        );
    }
}
