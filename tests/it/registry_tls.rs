//! A registry behind TLS: whom the client trusts, what it shows of itself, and what it says where that fails.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use stoker::decode::{RegisteredSchema, SchemaId, SchemaRef, Side, Wire};
use stoker::registry::{FetchError, RegistryClient, WorldFault};
use stoker::settings::{RegistrySettings, RegistryUrl, TlsSettings};

use super::support::tls::certificate;

const ANSWER: &str = r#"{"schema":"\"long\""}"#;

/// A registry of one schema that shows the certificate, and asks for one where `asks` is set. Ends with the test.
fn serve([cert, key]: [&Path; 2], asks: bool) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let shown = CertificateDer::from_pem_file(cert).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(shown.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![shown], PrivateKeyDer::from_pem_file(key).unwrap());
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut request = Vec::new();
            let mut chunk = [0; 1024];
            // Whoever does not trust this server goes away before the request ends.
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                request.extend_from_slice(&chunk[..read]);
                if request.ends_with(b"\r\n\r\n") {
                    let length = ANSWER.len();
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{ANSWER}");
                    break;
                }
            }
            let _ = stream.flush();
            // Closing over bytes that nobody read would take the alert back before the client sees it.
            let _ = stream.sock.shutdown(Shutdown::Write);
            while let Ok(1..) = stream.sock.read(&mut chunk) {}
        }
    });
    port
}

fn fetch(port: u16, host: &str, tls: TlsSettings) -> Result<RegisteredSchema, WorldFault> {
    let settings = RegistrySettings {
        urls: vec![RegistryUrl { tls: true, host: host.into(), port, path: String::new() }],
        username: None,
        password: None,
        token: None,
        tls,
        timeout: Duration::from_secs(10),
        wire: Wire::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let schema = SchemaRef { id: SchemaId::Number(1), side: Side::Value };
    match runtime.block_on(RegistryClient::new(settings).unwrap().fetch(&schema)) {
        Ok(schema) => Ok(schema),
        Err(FetchError::World { what, .. }) => Err(what),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_registry_behind_tls_is_read_where_it_is_trusted_and_refused_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(folder.path());
    let trusting = TlsSettings { ca: Some(cert.clone()), ..TlsSettings::default() };
    let port = serve([&cert, &key], false);
    assert_eq!(fetch(port, "127.0.0.1", trusting.clone()).unwrap().text, "\"long\"");
    // Nobody whom the system knows has signed it.
    assert_eq!(fetch(port, "127.0.0.1", TlsSettings::default()), Err(WorldFault::Tls));
    // It is the certificate of the address, and not of that name.
    assert_eq!(fetch(port, "localhost", trusting), Err(WorldFault::Tls));
}

#[test]
fn a_registry_that_asks_for_a_certificate_gets_the_one_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(folder.path());
    let port = serve([&cert, &key], true);
    let silent = TlsSettings { ca: Some(cert.clone()), ..TlsSettings::default() };
    let showing = TlsSettings { cert: Some(cert), key: Some(key), ..silent.clone() };
    assert_eq!(fetch(port, "127.0.0.1", showing).unwrap().text, "\"long\"");
    assert_eq!(fetch(port, "127.0.0.1", silent), Err(WorldFault::Tls));
}

#[test]
fn a_port_that_speaks_no_tls_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    assert_eq!(fetch(port, "127.0.0.1", TlsSettings::default()), Err(WorldFault::Tls));
}
