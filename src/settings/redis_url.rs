//! Redis URLs: `redis://user:password@host:6379/0`, `rediss://…`, `unix:///path/of.sock?db=0`.
//!
//! The forms are those that redis-cli and the client libraries share:
//! <https://github.com/redis/redis-specifications/blob/master/uri/redis.txt>. Errors say what is wrong and
//! never repeat any of the text, which holds the password.

use std::path::PathBuf;

use super::defaults::REDIS_PORT;
use super::{RedisAddress, Secret};

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RedisUrl {
    pub(super) address: RedisAddress,
    pub(super) database: i64,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) tls: bool,
}

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<RedisUrl, &'static str> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or("has no scheme: write redis://host:6379, rediss://… (TLS) or unix:///path")?;
    if rest.contains('#') {
        return Err("holds a #: percent-encode it as %23 in a user name or password");
    }
    match scheme {
        "redis" => server(rest, false),
        "rediss" => server(rest, true),
        "unix" | "redis+unix" => unix(rest),
        _ => Err("has an unknown scheme: redis://, rediss:// (TLS) and unix:// are read"),
    }
}

fn server(rest: &str, tls: bool) -> Result<RedisUrl, &'static str> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !query.is_empty() {
        return Err(
            "holds a ?: percent-encode it as %3F in a user name or password; parameters are not read here",
        );
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let (username, password) = login.map_or(Ok((None, None)), credentials)?;
    let (host, port) = host_and_port(host)?;
    let database = if path.is_empty() { 0 } else { database(path)? };
    let address = RedisAddress::Tcp(host, port.unwrap_or(REDIS_PORT));
    Ok(RedisUrl { address, database, username, password, tls })
}

fn unix(rest: &str) -> Result<RedisUrl, &'static str> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err("names no absolute path: write unix:///path/of.sock, with three slashes");
    }
    let address = RedisAddress::Unix(PathBuf::from(decoded(path)?));
    let mut url = RedisUrl { address, database: 0, username: None, password: None, tls: false };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("db", number)) => url.database = database(number)?,
            Some(("user", name)) => url.username = Some(decoded(name)?),
            Some(("pass", password)) => url.password = Some(Secret::new(decoded(password)?)),
            _ => return Err("has an unknown parameter: db, user and pass are read"),
        }
    }
    Ok(url)
}

fn credentials(login: &str) -> Result<(Option<String>, Option<Secret>), &'static str> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(Secret::new(decoded(password)?))),
        None => (login, None),
    };
    let user = decoded(user)?;
    Ok(((!user.is_empty()).then_some(user), password.filter(|password| !password.expose().is_empty())))
}

/// `host`, `host:port` or `[v6]:port`; the port where one is named.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    const PORT: &str = "has a port that is not a number from 1 to 65535";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has a [ without its ]")?;
            match (after.strip_prefix(':'), after) {
                (Some(port), _) => (host, Some(port)),
                (None, "") => (host, None),
                (None, _) => return Err(PORT),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("has several colons: an IPv6 address stands in brackets, as in [::1]:6379");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("names no host");
    }
    if host.contains(|c: char| c.is_whitespace() || "/@?%,".contains(c)) {
        return Err("names a host that holds something else than a name or an address");
    }
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or(PORT)?),
        None => None,
    };
    Ok((host.to_owned(), port))
}

fn database(text: &str) -> Result<i64, &'static str> {
    // Redis's `databases` is an int: no database is numbered higher.
    let number: Option<i32> = text.parse().ok().filter(|number| *number >= 0);
    number.map(i64::from).ok_or("names a database that is not a number: write redis://host:6379/0")
}

fn decoded(text: &str) -> Result<String, &'static str> {
    const WRONG: &str =
        "has a % that is not followed by two hexadecimal digits: a percent sign itself is %25";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, encoded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let (digits, after) = encoded.split_at_checked(2).ok_or(WRONG)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| WRONG)?);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "has percent-encoded bytes that are not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> RedisUrl {
        let address = RedisAddress::Tcp(host.to_owned(), port);
        RedisUrl { address, database: 0, username: None, password: None, tls: false }
    }

    #[test]
    fn the_common_forms_are_read() {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let user = |text: &str| Some(text.to_owned());
        let cases = [
            ("redis://localhost", tcp("localhost", 6379)),
            ("redis://localhost:7000/", tcp("localhost", 7000)),
            ("redis://localhost/3", RedisUrl { database: 3, ..tcp("localhost", 6379) }),
            ("redis://[::1]:7000/3", RedisUrl { database: 3, ..tcp("::1", 7000) }),
            ("rediss://h", RedisUrl { tls: true, ..tcp("h", 6379) }),
            ("redis://:p%40s%3As@h", RedisUrl { password: secret("p@s:s"), ..tcp("h", 6379) }),
            (
                "redis://u:a@b:c@h",
                RedisUrl { username: user("u"), password: secret("a@b:c"), ..tcp("h", 6379) },
            ),
            ("redis://%C3%A9@h", RedisUrl { username: user("é"), ..tcp("h", 6379) }),
            (
                "unix:///run/redis.sock?db=2&user=u&pass=p",
                RedisUrl {
                    address: RedisAddress::Unix("/run/redis.sock".into()),
                    database: 2,
                    username: user("u"),
                    password: secret("p"),
                    tls: false,
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "localhost:6379",
            "http://h",
            "redis://",
            "redis://hunter2@",
            "redis://u:hunter2@h:port",
            "redis://u:hunter2@h:0",
            "redis://u:hunter2@h:70000",
            "redis://u:hunter2@h/x",
            "redis://u:hunter2@h/-1",
            "redis://u:hunter2@::1:6379",
            "redis://u:hunter2%zz@h",
            "redis://u:hunter2%+1@h",
            "redis://u:hunter2%ff@h",
            "redis://u:hunter2#@h",
            "redis://u:hunter2?@h",
            "redis://u:hunter2/x@h",
            "unix://run/hunter2",
            "unix:///run/x?password=hunter2",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
