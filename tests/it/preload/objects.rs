//! Exports in object stores: a server that speaks as much of S3 as a reader asks for.

#[cfg(not(feature = "object-store"))]
#[test]
fn a_build_without_the_feature_names_it() {
    let redis = crate::support::redis::RedisServer::start();
    let desk = super::Desk::new(&super::alone(redis.port, ""));
    let done = desk.run(&["--unprotected", "s3://bucket/export"]);
    assert!(done.code == 2 && done.err.contains("cargo feature object-store"), "{done:?}");
}

#[cfg(feature = "object-store")]
mod with {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use axum::extract::{Path, State};
    use axum::http::{HeaderMap, StatusCode, Uri};
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;

    use super::super::formats::{Column, column, parquet};
    use super::super::{Desk, alone, held, rows};
    use crate::support::redis::RedisServer;

    type Objects = Arc<BTreeMap<String, Vec<u8>>>;

    async fn list(State(objects): State<Objects>, asked: Uri) -> String {
        let query = asked.query().unwrap_or_default();
        let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
        let prefix = prefix.replace("%2F", "/");
        let each = |(key, bytes): (&String, &Vec<u8>)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified>\
                 <ETag>\"{key}\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )
        };
        let all: String = objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(each).collect();
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{all}</ListBucketResult>")
    }

    async fn object(State(objects): State<Objects>, Path(key): Path<String>, asked: HeaderMap) -> Response {
        let Some(bytes) = objects.get(&key) else { return StatusCode::NOT_FOUND.into_response() };
        let headers = |range: String| {
            [
                ("etag", format!("\"{key}\"")),
                ("last-modified", "Sun, 01 Nov 2026 00:00:00 GMT".to_owned()),
                ("content-range", range),
            ]
        };
        let range = asked.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return (headers(String::new()), bytes.clone()).into_response();
        };
        assert_eq!(asked["if-match"], format!("\"{key}\""));
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let part = bytes[first..=last.min(bytes.len() - 1)].to_vec();
        let range = format!("bytes {first}-{}/{}", first + part.len() - 1, bytes.len());
        (StatusCode::PARTIAL_CONTENT, headers(range), part).into_response()
    }

    /// Serves these objects of one bucket until the process ends. Returns the endpoint.
    fn serve(objects: BTreeMap<String, Vec<u8>>) -> String {
        let app = axum::Router::new()
            .route("/bucket", get(list))
            .route("/bucket/{*key}", get(object))
            .with_state(Arc::new(objects));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        endpoint
    }

    #[test]
    fn a_prefix_of_a_bucket_is_read_as_a_folder_is() {
        let redis = RedisServer::start();
        let mut desk = Desk::new(&alone(redis.port, ""));
        // More than one block, in two row groups.
        let ids: Vec<i64> = (10_000..20_000).collect();
        let groups = ids.chunks(5_000).map(|ids| -> Vec<Column> {
            let names = ids.iter().map(|id| format!("{id:0>300}").as_str().into()).collect();
            vec![
                column::<::parquet::data_type::Int64Type>(ids.to_vec(), vec![], vec![]),
                column::<::parquet::data_type::ByteArrayType>(names, vec![], vec![]),
            ]
        });
        let message = "message t { required int64 id; required binary name (UTF8); }";
        parquet(&desk.path("p"), message, groups.collect());
        let file = std::fs::read(desk.path("p")).unwrap();
        let objects = [
            ("export/dt=1/a.ndjson", rows(0..10_000).into_bytes()),
            ("export/dt=2/b.parquet", file),
            ("export/_SUCCESS", b"x".to_vec()),
            ("export/.part.crc", b"x".to_vec()),
        ];
        let endpoint = serve(objects.map(|(key, bytes)| (key.to_owned(), bytes)).into());
        desk.env = vec![
            ("AWS_ENDPOINT", endpoint),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hunter2".to_owned()),
        ];
        let done = desk.run(&["--as-of", "file-time", "--dry-run", "s3://bucket/export/dt=1/a.ndjson"]);
        assert_eq!((done.code, done.count("rows")), (0, 10_000), "{done:?}");
        let done = desk.run(&["--unprotected", "--sweep", "s3://bucket/export/"]);
        assert_eq!((done.code, done.count("rows"), done.count("keys_swept")), (0, 20_000, 0), "{done:?}");
        let estimate = done.report["estimate"]["rows"].as_u64().unwrap();
        assert!((19_000..21_000).contains(&estimate), "{done:?}");
        let held = held(&mut redis.client());
        assert_eq!(held["t:0"], r#"{"id":0,"name":"n0","dt":"1"}"#);
        assert_eq!(held["t:19999"], format!(r#"{{"id":19999,"name":"{:0>300}","dt":"2"}}"#, 19_999));
        let done = desk.run(&["--unprotected", "s3://bucket/nothing"]);
        assert!(done.code == 2 && done.err.contains("no object to read"), "{done:?}");
        assert!(!done.err.contains("hunter2"), "{done:?}");
    }
}
