//! One GET request, over a connection of its own: schemas are fetched once, so none is kept.
//!
//! Follows no redirects: the login would go along.

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::WorldFault;
use crate::settings::{RegistrySettings, RegistryUrl};
use crate::tls;

/// Bytes of an answer. The largest schemas known are some hundred KB.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What all requests share.
pub(super) struct Http {
    tls: Option<TlsConnector>,
    login: Option<HeaderValue>,
}

impl std::fmt::Debug for Http {
    /// The login never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The body of a 200; for any other status, what that means.
    pub(super) fn ok_or_fault(self) -> Result<Vec<u8>, WorldFault> {
        match self.status {
            200 => Ok(self.body),
            status @ (401 | 403) => Err(WorldFault::Login(status)),
            404 => Err(WorldFault::NoApi),
            status => Err(WorldFault::Status(status)),
        }
    }
}

impl Http {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Http, String> {
        let needs_tls = settings.urls.iter().any(|url| url.tls);
        let tls = if needs_tls { Some(tls::connector(&settings.tls)?) } else { None };
        let login = match (&settings.token, &settings.username, &settings.password) {
            (Some(token), _, _) => Some(format!("Bearer {}", token.expose())),
            (None, Some(user), Some(password)) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose()))))
            }
            _ => None,
        };
        let login = login.map(HeaderValue::try_from).transpose();
        let mut login = login.map_err(|_| "registry.token holds what no HTTP header may hold".to_owned())?;
        if let Some(login) = &mut login {
            login.set_sensitive(true);
        }
        Ok(Http { tls, login })
    }

    pub(super) async fn get(&self, url: &RegistryUrl, path: &str) -> Result<Response, WorldFault> {
        let stream =
            TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|_| WorldFault::Unreachable)?;
        match &self.tls {
            Some(tls) if url.tls => {
                let name = ServerName::try_from(url.host.clone()).map_err(|_| WorldFault::Tls)?;
                let stream = tls.connect(name, stream).await.map_err(|_| WorldFault::Tls)?;
                self.ask(stream, url, path).await
            }
            _ => self.ask(stream, url, path).await,
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        url: &RegistryUrl,
        path: &str,
    ) -> Result<Response, WorldFault> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| WorldFault::Unreachable)?;
        let mut request = hyper::Request::get(path)
            .header(HOST, url.authority())
            .header(ACCEPT, "application/vnd.schemaregistry.v1+json, application/json")
            .header(USER_AGENT, concat!("stoker/", env!("CARGO_PKG_VERSION")));
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| WorldFault::Protocol)?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|_| WorldFault::Protocol)?;
            Ok(Response { status, body: body.to_bytes().to_vec() })
        };
        // The connection must be driven beside the exchange; whichever ends first, no task is left behind.
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    }
}

/// Why a connection broke. A server that asks for a certificate refuses only behind the handshake.
fn broken(error: &hyper::Error) -> WorldFault {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let is_tls = cause.and_then(std::io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>());
    if is_tls { WorldFault::Tls } else { WorldFault::Unreachable }
}
