//! `[redis]`.

use std::path::PathBuf;

use super::Context;
use crate::settings::check::reason;
use crate::settings::document::Path;
use crate::settings::raw::{Redis, Text, Tls};
use crate::settings::redis_url::{self, RedisUrl, host_and_port};
use crate::settings::{RedisAddress, RedisSettings, RedisTarget, TlsSettings, defaults};

/// `[redis]`, checked.
pub(super) fn redis(raw: &Redis, path: &Path, context: &mut Context<'_, '_>) -> Option<RedisSettings> {
    let url = raw.url.as_ref().and_then(|text| url(text, &path.key("url"), context));
    let nodes = raw.cluster.as_ref().and_then(|raw| nodes(raw, &path.key("cluster"), context));
    let (says_url, says_cluster) =
        (context.findings.says(&path.key("url")), context.findings.says(&path.key("cluster")));
    if says_url && says_cluster {
        let why = "stands beside url: one of the two says where Redis is";
        context.findings.refuse_field(&path.key("cluster"), why, None);
    } else if !says_url && !says_cluster && !context.findings.says(&path.key("sentinel")) {
        let help = "write url = \"redis://host:6379\" for one server, or cluster = [\"host:port\", …]";
        context.findings.refuse_with(path, "does not say where Redis is", help);
    }

    let (address, tls_by_url) = match url {
        Some(RedisUrl { address, database, username, password, tls }) => {
            (Some((address, database, username, password)), tls)
        }
        None => (None, false),
    };
    let on_socket = matches!(address, Some((RedisAddress::Unix(_), ..)));
    let (target, url_username, url_password) = match address {
        Some((address, database, username, password)) => {
            (Some(RedisTarget::Single { address, database }), username, password)
        }
        None => (nodes.map(RedisTarget::Cluster), None, None),
    };
    let username = once(url_username, raw.username.as_ref(), &path.key("username"), context);
    let beside = raw.password.as_ref();
    let password = once(url_password.map(|p| p.expose().to_owned()), beside, &path.key("password"), context);
    if username.is_some() && password.is_none() && !context.findings.says(&path.key("password")) {
        let named_at = if raw.username.is_some() { path.key("username") } else { path.key("url") };
        let help = "a user logs in with a password; for one without (nopass), any will do";
        context.findings.refuse_with(&named_at, "names a user, but no password stands beside it", help);
    }
    let tls = raw.tls.as_ref().map(|raw| tls(raw, &path.key("tls"), context));
    if tls.is_some() && on_socket {
        context.findings.refuse_field(&path.key("tls"), "a unix socket has no TLS", None);
    }
    let own_prefix = raw.own_prefix.as_ref().map_or(defaults::OWN_PREFIX, |text| text.0.as_str());
    let own_prefix = own_prefix_of(own_prefix, &path.key("own_prefix"), context);
    let bounds = &defaults::TIMEOUT_BOUNDS;
    let timeout =
        context.duration_or(raw.timeout.as_ref(), &path.key("timeout"), defaults::REDIS_TIMEOUT, bounds);
    let connect_timeout = context.duration_or(
        raw.connect_timeout.as_ref(),
        &path.key("connect_timeout"),
        defaults::REDIS_CONNECT_TIMEOUT,
        bounds,
    );
    Some(RedisSettings {
        target: target?,
        username,
        password: password.map(|text| context.secret(text, &path.key("password"))),
        tls: tls.or_else(|| tls_by_url.then(TlsSettings::default)),
        own_prefix: own_prefix.to_owned(),
        timeout,
        connect_timeout,
    })
}

fn own_prefix_of<'t>(text: &'t str, path: &Path, context: &mut Context<'_, '_>) -> &'t str {
    if text.contains(['{', '}']) {
        let why = "holds a brace, which would be a hash tag: Stoker chooses the slots of its own keys itself";
        context.findings.refuse(path, why);
        return defaults::OWN_PREFIX;
    }
    context.filled(Some(text), path).unwrap_or(defaults::OWN_PREFIX)
}

fn url(text: &Text, path: &Path, context: &mut Context<'_, '_>) -> Option<RedisUrl> {
    let parsed = redis_url::parse(&text.0);
    parsed.map_err(|wrong| context.findings.refuse(path, format!("the URL {wrong}"))).ok()
}

fn nodes(raw: &[Text], path: &Path, context: &mut Context<'_, '_>) -> Option<Vec<String>> {
    let mut nodes = Vec::new();
    for (index, node) in raw.iter().enumerate() {
        let at = path.index(index);
        let problem = match host_and_port(node.0.trim()) {
            Ok((_, Some(_))) => {
                nodes.push(node.0.trim().to_owned());
                continue;
            }
            Ok((_, None)) => "names no port",
            Err(wrong) => wrong,
        };
        let help =
            "a node is host:port, as in \"redis-1:6379\"; user, password and tls are said beside cluster";
        context.findings.refuse_with(&at, format!("the node {problem}"), help);
    }
    (nodes.len() == raw.len()).then_some(nodes)
}

/// What may be said in the URL or beside it, but not in both places.
fn once(
    in_url: Option<String>,
    beside: Option<&Text>,
    path: &Path,
    context: &mut Context<'_, '_>,
) -> Option<String> {
    let beside = context.filled(beside.map(|text| text.0.as_str()), path);
    if in_url.is_some() && beside.is_some() {
        context.findings.refuse_field(path, "is said in the url too: one of the two has to go", None);
    }
    beside.map(str::to_owned).or(in_url)
}

/// Paths of PEM files.
pub(super) fn tls(raw: &Tls, path: &Path, context: &mut Context<'_, '_>) -> TlsSettings {
    let mut pem = |text: Option<&Text>, name: &str| -> Option<PathBuf> {
        let at = path.key(name);
        let text = context.filled(text.map(|text| text.0.as_str()), &at)?;
        let file = std::path::Path::new(text);
        if let Err(error) = context.environment.read(file) {
            let message = format!("{} cannot be read: {}", context.shown(text, &at), reason(&error));
            context.findings.refuse(&at, message);
        }
        Some(context.environment.locate(file))
    };
    let settings = TlsSettings {
        ca: pem(raw.ca.as_ref(), "ca"),
        cert: pem(raw.cert.as_ref(), "cert"),
        key: pem(raw.key.as_ref(), "key"),
    };
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if context.findings.says(&path.key(one)) && !context.findings.says(&path.key(other)) {
            context.findings.refuse(&path.key(one), format!("needs {other} beside it"));
        }
    }
    settings
}
