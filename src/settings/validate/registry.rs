//! `[registry]`.

use super::Context;
use super::redis::tls;
use crate::decode::{ApicurioIds, IdBytes, Wire};
use crate::settings::document::Path;
use crate::settings::raw_registry::{self, Registry, Urls};
use crate::settings::redis_url::host_and_port;
use crate::settings::{RegistrySettings, RegistryUrl, Secret, defaults};

/// `[registry]`, checked.
pub(super) fn registry(
    raw: &Registry,
    path: &Path,
    context: &mut Context<'_, '_>,
) -> Option<RegistrySettings> {
    let at = path.key("url");
    let urls = match raw.url.as_ref()? {
        Urls::One(text) => vec![(text, at)],
        Urls::List(list) => list.iter().enumerate().map(|(index, text)| (text, at.index(index))).collect(),
    };
    if urls.is_empty() {
        context.findings.refuse(&path.key("url"), "is empty");
    }
    let urls: Vec<Option<RegistryUrl>> = urls
        .into_iter()
        .map(|(text, at)| {
            url(&text.0).map_err(|wrong| context.findings.refuse(&at, format!("the URL {wrong}"))).ok()
        })
        .collect();
    let mut text = |text: Option<&crate::settings::raw::Text>, name: &str| {
        context.filled(text.map(|text| text.0.as_str()), &path.key(name)).map(str::to_owned)
    };
    let username = text(raw.username.as_ref(), "username");
    let password = text(raw.password.as_ref(), "password").map(Secret::new);
    let token = text(raw.token.as_ref(), "token").map(Secret::new);
    if token.is_some() && (username.is_some() || password.is_some()) {
        let why = "stands beside a user or password: one of the two logs in";
        context.findings.refuse_field(&path.key("token"), why, None);
    }
    for (one, other) in [("username", "password"), ("password", "username")] {
        if context.findings.says(&path.key(one)) && !context.findings.says(&path.key(other)) {
            context.findings.refuse(&path.key(one), format!("needs {other} beside it"));
        }
    }
    let tls = raw.tls.as_ref().map(|raw| tls(raw, &path.key("tls"), context));
    if tls.is_some() && urls.iter().flatten().any(|url| !url.tls) {
        context.findings.refuse(&path.key("tls"), "speaks of TLS, but a URL is http://: write https://");
    }
    let timeout = context.duration_or(
        raw.timeout.as_ref(),
        &path.key("timeout"),
        defaults::REGISTRY_TIMEOUT,
        &defaults::TIMEOUT_BOUNDS,
    );
    let wire = Wire {
        id_bytes: match raw.id_bytes {
            Some(8) => IdBytes::Eight,
            Some(4) => IdBytes::Four,
            Some(_) => {
                context.findings.refuse(&path.key("id_bytes"), "is neither 4 nor 8");
                IdBytes::Auto
            }
            None => IdBytes::Auto,
        },
        eight_byte_ids: match raw.apicurio_ids {
            Some(raw_registry::ApicurioIds::Content) => ApicurioIds::Content,
            Some(raw_registry::ApicurioIds::Global) | None => ApicurioIds::Global,
        },
    };
    let urls = urls.into_iter().collect::<Option<Vec<_>>>()?;
    Some(RegistrySettings { urls, username, password, token, tls: tls.unwrap_or_default(), timeout, wire })
}

/// Reads `http://host:port/path`. The error never repeats any of the text, which may hold a password.
fn url(text: &str) -> Result<RegistryUrl, &'static str> {
    let (scheme, rest) =
        text.split_once("://").ok_or("has no scheme: write http://host:8081 or https://host")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err("has an unknown scheme: http:// and https:// are read"),
    };
    if rest.contains('@') {
        return Err("holds a login: write username and password (or token) beside it");
    }
    if rest.contains(['?', '#']) || rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds something else than a host, a port and a path");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = host_and_port(authority)?;
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    Ok(RegistryUrl { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_scheme_host_port_and_path() {
        for (text, shown) in [
            ("http://localhost:8081", "http://localhost:8081"),
            ("http://localhost:8081/", "http://localhost:8081"),
            ("https://r.example.com", "https://r.example.com:443"),
            ("http://[::1]:8080/apis/ccompat/v7/", "http://[::1]:8080/apis/ccompat/v7"),
        ] {
            assert_eq!(url(text).unwrap().to_string(), shown);
        }
        for text in [
            "localhost:8081",
            "ftp://h",
            "http://u:p@h",
            "http://",
            "http://h:0",
            "http://h/a?b",
            "http://h/a b",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
