//! The admin HTTP server: `/metrics`, `/livez`, `/readyz`, `/status`, `/`.
//!
//! It runs on a thread and a small runtime of its own, so that it answers while workers are busy, and takes
//! nothing but GET. It has no access control: it listens where `[admin]` says, by default on this machine only.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Json};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing::error;

use super::alarm::{Alarm, alarms};
use super::metrics::{self, MetricsError};
use super::ready::{Reason, liveness, readiness};
use super::status::{LaneStatus, Snapshot, Status};
use crate::clock::SystemClock;

/// How often histograms are folded into their buckets, where nobody scrapes: the exporter's own default.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Reasons listed by `/readyz`: the first ones tell, and a process may own thousands of lanes.
const REASONS_SHOWN_MAX: usize = 100;

/// Why the admin server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("admin.listen: cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server's thread or runtime could not be made.
    #[error("the admin server cannot start")]
    Start(#[source] io::Error),
    /// Another one runs in this process.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// The running server. Dropping it closes the connections and waits for its thread.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Where it listens: the port that was given by the system, where the settings say 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the admin server's thread panicked");
        }
    }
}

/// Sets up the process's metrics and serves them, health, readiness and status at this address.
///
/// `lag_max` is `ready.lag`; `clock` is the one that the status's times are of. Errors: the address is taken
/// or not this machine's, or a server already runs in this process.
pub fn serve(
    address: SocketAddr,
    status: &Arc<Status>,
    lag_max: Duration,
    clock: SystemClock,
) -> Result<Admin, AdminError> {
    let listener = TcpListener::bind(address).map_err(|source| AdminError::Bind { address, source })?;
    let prometheus = metrics::install()?;
    start(listener, View { status: Arc::clone(status), prometheus, lag_max, clock })
}

/// What the handlers read.
#[derive(Debug, Clone)]
struct View {
    status: Arc<Status>,
    prometheus: PrometheusHandle,
    lag_max: Duration,
    clock: SystemClock,
}

fn start(listener: TcpListener, view: View) -> Result<Admin, AdminError> {
    let address = listener.local_addr().map_err(AdminError::Start)?;
    listener.set_nonblocking(true).map_err(AdminError::Start)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Start)?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(AdminError::Start)?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = axum::serve(listener, router(view.clone())) => {
                        if let Err(source) = served {
                            error!(error = %source, "the admin server ended");
                        }
                    }
                    () = keep_up(&view.prometheus) => {}
                    _ = stopped => {}
                }
            });
        })
        .map_err(AdminError::Start)?;
    Ok(Admin { address, stop: Some(stop), thread: Some(thread) })
}

async fn keep_up(prometheus: &PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
    }
}

fn router(view: View) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(show_liveness))
        .route("/readyz", get(show_readiness))
        .route("/status", get(show_status))
        .route("/", get(Html(include_str!("page.html"))))
        .with_state(view)
}

impl View {
    fn now_ms(&self) -> i64 {
        self.clock.now().unix_ms
    }

    fn look(&self) -> (Snapshot, i64, Result<(), Vec<Reason>>) {
        let (snapshot, now_ms) = (self.status.snapshot(), self.now_ms());
        let ready = readiness(&snapshot, self.lag_max, now_ms);
        (snapshot, now_ms, ready)
    }
}

async fn show_metrics(State(view): State<View>) -> impl IntoResponse {
    let (snapshot, now_ms, ready) = view.look();
    let gauges = metrics::render_gauges(&snapshot, ready.is_ok(), now_ms);
    // https://prometheus.io/docs/instrumenting/exposition_formats/
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, view.prometheus.render() + &gauges)
}

async fn show_liveness(State(view): State<View>) -> impl IntoResponse {
    if liveness(&view.status.snapshot(), view.now_ms()) {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Kafka has not been polled for too long\n")
    }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reason_count: usize,
    reasons: Vec<Reason>,
}

async fn show_readiness(State(view): State<View>) -> impl IntoResponse {
    let (_, _, ready) = view.look();
    let code = if ready.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness_body(ready)))
}

fn readiness_body(ready: Result<(), Vec<Reason>>) -> Readiness {
    let mut reasons = ready.err().unwrap_or_default();
    let reason_count = reasons.len();
    reasons.truncate(REASONS_SHOWN_MAX);
    Readiness { ready: reason_count == 0, reason_count, reasons }
}

/// The snapshot, and what follows from it at this moment.
#[derive(Serialize)]
struct StatusBody<'s> {
    version: &'s str,
    started_ms: i64,
    now_ms: i64,
    #[serde(flatten)]
    readiness: Readiness,
    alarms: Vec<Alarm>,
    joined: bool,
    draining: bool,
    kafka: &'s super::status::DependencyStatus,
    redis: &'s super::status::RedisStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify: Option<super::status::VerifyStatus>,
    lanes: Vec<LaneBody<'s>>,
}

#[derive(Serialize)]
struct LaneBody<'s> {
    #[serde(flatten)]
    lane: &'s LaneStatus,
    lag: Option<i64>,
    unapplied_age_ms: Option<i64>,
}

async fn show_status(State(view): State<View>) -> impl IntoResponse {
    let (snapshot, now_ms, ready) = view.look();
    let lane = |lane| LaneBody {
        lane,
        lag: LaneStatus::lag(lane),
        unapplied_age_ms: LaneStatus::unapplied_age_ms(lane, now_ms),
    };
    Json(StatusBody {
        version: snapshot.version,
        started_ms: snapshot.started_ms,
        now_ms,
        readiness: readiness_body(ready),
        alarms: alarms(&snapshot),
        joined: snapshot.joined,
        draining: snapshot.draining,
        kafka: &snapshot.kafka,
        redis: &snapshot.redis,
        verify: snapshot.verify,
        lanes: snapshot.lanes.values().map(lane).collect(),
    })
    .into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::admin::LaneState;
    use crate::batch::LaneName;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn server(status: &Arc<Status>) -> Admin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Not the process's recorder: tests share a process.
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let lag_max = Duration::from_secs(5);
        start(listener, View { status: Arc::clone(status), prometheus, lag_max, clock: SystemClock::new() })
            .unwrap()
    }

    /// Status code and body.
    fn get(server: &Admin, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: stoker\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn warm_up(status: &Status) {
        status.update(|snapshot| {
            snapshot.joined = true;
            snapshot.kafka.up = true;
            snapshot.redis.dependency.up = true;
        });
        let name = LaneName { topic: "shop.orders".into(), partition: 1 };
        let lane = LaneStatus::new(&name, Some(3));
        status.add_lane(LaneStatus { state: LaneState::Filling, position: Some(4), high: Some(4), ..lane });
    }

    #[test]
    fn readiness_turns_with_the_status_and_says_why_not() {
        let status = Arc::new(Status::new(0));
        let server = server(&status);
        let (code, body) = get(&server, "/readyz");
        assert_eq!(code, 503);
        assert!(
            body.starts_with(r#"{"ready":false,"reason_count":3,"reasons":[{"reason":"not_joined"}"#),
            "{body}"
        );
        warm_up(&status);
        assert_eq!(
            get(&server, "/readyz"),
            (200, r#"{"ready":true,"reason_count":0,"reasons":[]}"#.to_owned())
        );
    }

    #[test]
    fn every_page_answers_what_it_is_for() {
        let status = Arc::new(Status::new(0));
        warm_up(&status);
        let server = server(&status);
        let lane = r#"{"topic":"shop.orders","partition":1,"state":"filling","paused":false,"position":4"#;
        for (path, expected) in [
            ("/livez", "alive"),
            ("/metrics", "stoker_lag_records{topic=\"shop.orders\",partition=\"1\"} 1"),
            ("/status", lane),
            ("/status", r#""lag":1,"unapplied_age_ms":0"#),
            ("/status", r#""alarms":[]"#),
            ("/", "<title>Stoker</title>"),
        ] {
            let (code, body) = get(&server, path);
            assert!(code == 200 && body.contains(expected), "{path}: {code} {body}");
        }
        assert_eq!(get(&server, "/nothing").0, 404);
        let fell_silent = |snapshot: &mut Snapshot| snapshot.polled_ms = Some(0);
        status.update(fell_silent);
        assert_eq!(get(&server, "/livez").0, 503);
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let status = Arc::new(Status::new(0));
        let error = serve(address, &status, Duration::ZERO, SystemClock::new()).expect_err("taken");
        assert_eq!(error.to_string(), format!("admin.listen: cannot listen on {address}"));
    }

    #[test]
    fn dropping_the_server_frees_its_address() {
        let server = server(&Arc::new(Status::new(0)));
        let address = server.address();
        drop(server);
        TcpStream::connect(address).expect_err("nobody listens");
    }
}
