//! The border to the schema registry: fetches the schemas that records name, over HTTP.
//!
//! Speaks Confluent's API (<https://docs.confluent.io/platform/current/schema-registry/develop/api.html>), which
//! Karapace and Apicurio have too, and Apicurio's own for ids that only it gives. Asks for schemas by id alone,
//! registers nothing, keeps nothing: [`crate::decode::Schemas`] does. Start at [`RegistryClient::fetch`].

mod answer;
mod http;

use std::collections::BTreeSet;

use self::answer::{Answer, Reference};
use self::http::{Http, Response};
use crate::decode::{RegisteredSchema, SchemaId, SchemaRef, UnknownSchema, guid_text};
use crate::settings::{RegistrySettings, RegistryUrl};

/// Schemas that one schema may refer to, directly or not. Real ones refer to a handful.
const REFERENCES_MAX: usize = 256;

/// Why a schema was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The registry could not be asked, or would not say: an error of the world, to be tried again for ever, and
    /// never a dead letter.
    #[error("the registry at {place} {what}")]
    World {
        /// Its address.
        place: String,
        /// What it did, in words.
        what: WorldFault,
    },
    /// It says that there is no such schema. It may not have reached the replica that answered, so that a worker
    /// asks again for [`crate::worker::SCHEMA_GRACE`]; then it is the record's error.
    #[error("the schema is not in the registry at {}", .0.place)]
    NotFound(UnknownSchema),
}

/// What kept a registry from answering. Ends the sentence "the registry at …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldFault {
    /// No connection could be made, or it broke.
    #[error("cannot be reached")]
    Unreachable,
    /// No answer within `registry.timeout`.
    #[error("does not answer in time")]
    Timeout,
    /// TLS failed: certificates, or a port that does not speak it.
    #[error("cannot be reached over TLS: look at its certificate and at registry.tls")]
    Tls,
    /// 401 or 403.
    #[error("answers {0}: look at registry.username and password, or token")]
    Login(u16),
    /// Another status.
    #[error("answers {0}")]
    Status(u16),
    /// 404, but not about a schema.
    #[error("does not have this API: look at the path of registry.url")]
    NoApi,
    /// What came is not what its API says.
    #[error("answers something else than a schema")]
    Protocol,
}

/// A client of the registry that the settings name. Cheap to make; holds no connection.
#[derive(Debug)]
pub struct RegistryClient {
    settings: RegistrySettings,
    http: Http,
}

impl RegistryClient {
    /// A client. Reads the files that `registry.tls` names; the error says which one is wrong.
    pub fn new(settings: RegistrySettings) -> Result<RegistryClient, String> {
        let http = Http::new(&settings)?;
        Ok(RegistryClient { settings, http })
    }

    /// The addresses as messages show them.
    pub fn place(&self) -> String {
        let urls: Vec<String> = self.settings.urls.iter().map(ToString::to_string).collect();
        urls.join(", ")
    }

    /// Fetches a schema and all that it refers to.
    ///
    /// Asks the addresses in their order until one answers. Bounded by `registry.timeout` for each request, 8 MiB
    /// for each answer and 256 references. Runs on any tokio runtime with IO and time.
    pub async fn fetch(&self, schema: &SchemaRef) -> Result<RegisteredSchema, FetchError> {
        let mut world = None;
        for url in &self.settings.urls {
            match self.fetch_at(url, schema.id).await {
                Ok(schema) => return Ok(schema),
                Err(NotHad::NotFound) => {
                    return Err(FetchError::NotFound(UnknownSchema { place: url.to_string() }));
                }
                Err(NotHad::World(what)) => {
                    world = world.or(Some(FetchError::World { place: url.to_string(), what }));
                }
            }
        }
        Err(world.unwrap_or(FetchError::World { place: self.place(), what: WorldFault::Unreachable }))
    }

    /// Asks whether the registry is there and lets this client in: for `check`. One answer or error an address.
    pub async fn probe(&self) -> Vec<(String, Result<(), WorldFault>)> {
        let mut found = Vec::new();
        for url in &self.settings.urls {
            let answer = self.get(url, &format!("{}/schemas/types", url.path)).await;
            found.push((url.to_string(), answer.and_then(|answer| answer.ok_or_fault().map(drop))));
        }
        found
    }

    async fn fetch_at(&self, url: &RegistryUrl, id: SchemaId) -> Result<RegisteredSchema, NotHad> {
        let (body, is_native) = match id {
            SchemaId::Number(id) => (self.confluent(url, &format!("/schemas/ids/{id}")).await?, false),
            SchemaId::Guid(guid) => {
                (self.confluent(url, &format!("/schemas/guids/{}", guid_text(&guid))).await?, false)
            }
            SchemaId::ApicurioGlobal(id) => {
                (self.apicurio(url, &format!("/ids/globalIds/{id}")).await?, true)
            }
            SchemaId::ApicurioContent(id) => {
                (self.apicurio(url, &format!("/ids/contentIds/{id}")).await?, true)
            }
        };
        if is_native {
            let text = String::from_utf8(body).map_err(|_| NotHad::World(WorldFault::Protocol))?;
            let references = self.native_references(url, id).await?;
            return Ok(RegisteredSchema { kind: answer::kind_of(&text), text, references });
        }
        let answer = Answer::parse(&body)?;
        let references = self.references(url, &answer.references).await?;
        Ok(RegisteredSchema { kind: answer.kind()?, text: answer.schema, references })
    }

    /// What a schema refers to, each behind what it refers to itself.
    async fn references(
        &self,
        url: &RegistryUrl,
        first: &[Reference],
    ) -> Result<Vec<(String, String)>, NotHad> {
        let mut todo: Vec<Visit> = first.iter().rev().cloned().map(Visit::Fetch).collect();
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        while let Some(visit) = todo.pop() {
            let reference = match visit {
                Visit::Keep(name, text) => {
                    found.push((name, text));
                    continue;
                }
                Visit::Fetch(reference) => reference,
            };
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(NotHad::World(WorldFault::Protocol));
            }
            let subject = escaped(&reference.subject);
            let path = format!("/subjects/{subject}/versions/{}?deleted=true", reference.version);
            let answer = Answer::parse(&self.confluent(url, &path).await?)?;
            todo.push(Visit::Keep(reference.name, answer.schema));
            todo.extend(answer.references.into_iter().rev().map(Visit::Fetch));
        }
        Ok(found)
    }

    /// The same by Apicurio's own API, which lists the artifacts that a content refers to.
    async fn native_references(
        &self,
        url: &RegistryUrl,
        id: SchemaId,
    ) -> Result<Vec<(String, String)>, NotHad> {
        let path = match id {
            SchemaId::ApicurioGlobal(id) => format!("/ids/globalIds/{id}/references"),
            SchemaId::ApicurioContent(id) => format!("/ids/contentIds/{id}/references"),
            SchemaId::Number(_) | SchemaId::Guid(_) => return Ok(Vec::new()),
        };
        match answer::artifacts(&self.apicurio(url, &path).await?)? {
            0 => Ok(Vec::new()),
            // Nothing that writes CDC events registers references there.
            _ => Err(NotHad::World(WorldFault::Protocol)),
        }
    }

    async fn confluent(&self, url: &RegistryUrl, path: &str) -> Result<Vec<u8>, NotHad> {
        let response = self.get(url, &format!("{}{path}", url.path)).await?;
        match response.status {
            404 if answer::is_about_a_schema(&response.body) => Err(NotHad::NotFound),
            404 => Err(NotHad::World(WorldFault::NoApi)),
            _ => Ok(response.ok_or_fault()?),
        }
    }

    /// Versions 2 and 3 of Apicurio's API have these paths in common; which of them a server has depends on its own.
    async fn apicurio(&self, url: &RegistryUrl, path: &str) -> Result<Vec<u8>, NotHad> {
        let root = url.path.split("/apis/").next().unwrap_or_default();
        let mut not_found = NotHad::World(WorldFault::NoApi);
        for version in ["v2", "v3"] {
            let response = self.get(url, &format!("{root}/apis/registry/{version}{path}")).await?;
            match response.status {
                404 if answer::has_error_code(&response.body) => not_found = NotHad::NotFound,
                404 => {}
                _ => return Ok(response.ok_or_fault()?),
            }
        }
        Err(not_found)
    }

    async fn get(&self, url: &RegistryUrl, path: &str) -> Result<Response, WorldFault> {
        match tokio::time::timeout(self.settings.timeout, self.http.get(url, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(WorldFault::Timeout),
        }
    }
}

/// A step of following references.
enum Visit {
    Fetch(Reference),
    Keep(String, String),
}

/// Why one address did not give a schema.
#[derive(Debug)]
enum NotHad {
    NotFound,
    World(WorldFault),
}

impl From<WorldFault> for NotHad {
    fn from(fault: WorldFault) -> NotHad {
        NotHad::World(fault)
    }
}

/// A text as one segment of a path.
fn escaped(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte))
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests;
