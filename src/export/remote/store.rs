//! Objects of a store, read in blocks by requests for ranges.
//!
//! Credentials and endpoints come from the environment by the names that each cloud's own tools know
//! (<https://docs.rs/object_store/0.14.2/object_store/>). Requests run on a small runtime of their own, and whoever reads
//! waits for them as for a file. Start at [`Object`].

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _};

use super::super::inputs::{FILES_MAX, is_aside, table_of};
use super::super::{Identity, InputsError};
use super::SCHEMES;

/// Bytes that one request asks for: at 50 ms an answer some 40 MB a second, more than Redis takes in as keys.
const BLOCK_BYTES: u64 = 2 << 20;
/// Blocks that are kept of one object: the columns of a Parquet file lie apart and are read by turns.
const BLOCKS_MAX: usize = 16;
/// For one request with its retries, of which the library does ten within three minutes.
const REQUEST_WITHIN: Duration = Duration::from_secs(240);
/// For the listing of a whole export.
const LIST_WITHIN: Duration = Duration::from_secs(600);

/// An object of a store.
#[derive(Debug, Clone)]
pub struct Object {
    url: String,
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    modified_ms: i64,
    tag: Option<String>,
}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Object {}

impl Object {
    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it was written, Unix milliseconds.
    pub fn modified_ms(&self) -> Option<i64> {
        Some(self.modified_ms)
    }

    /// Which one it is: the store's tag of its content stands for a digest.
    pub fn identity(&self) -> Identity {
        Identity {
            path: self.url.clone(),
            bytes: self.bytes,
            modified_ms: self.modified_ms,
            head: self.tag.clone().unwrap_or_default(),
        }
    }

    /// Its content from the beginning.
    pub fn read(&self) -> impl Read + Send + use<> {
        Reader { object: self.at_any_place(), at: 0 }
    }

    /// Its content at any place, for Parquet.
    pub fn at_any_place(&self) -> AnyPlace {
        AnyPlace { object: self.clone(), blocks: Arc::default() }
    }

    /// A range of it, as long as it is what it was when it was found.
    fn fetch(&self, range: Range<u64>) -> io::Result<Bytes> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let options =
            GetOptions::new().with_range(Some(GetRange::Bounded(range))).with_if_match(self.tag.clone());
        within(REQUEST_WITHIN, async move { store.get_opts(&path, options).await?.bytes().await })
    }
}

/// Finds what an address names: one object, or all below a prefix, sorted by path.
///
/// # Errors
/// The store cannot be reached or refuses, nothing is there, or it is a table of a format that is not read.
pub(in crate::export) fn find(url: &str, scheme: &str) -> Result<Vec<Object>, InputsError> {
    let refused = |why: String| InputsError::Refused { path: url.to_owned(), why };
    let failed = |source: io::Error| InputsError::Io { path: url.to_owned(), source };
    if !SCHEMES.contains(&scheme) {
        return Err(refused(format!("addresses of {scheme}:// are not read; {} are", SCHEMES.join(", "))));
    }
    let (bucket, path) = split(url).ok_or_else(|| refused("it names no bucket".to_owned()))?;
    if path.contains('*') {
        return Err(refused("patterns are read of files only: name a prefix".to_owned()));
    }
    let path = Path::parse(path).map_err(|_| refused("it names no path".to_owned()))?;
    // Another part of the process may have said so already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = connect(url, scheme).map_err(|error| failed(told(&error)))?;
    let asked = Arc::clone(&store);
    let found: Vec<ObjectMeta> = within(LIST_WITHIN, async move {
        if !path.as_ref().is_empty() {
            match asked.head(&path).await {
                Ok(one) => return Ok(vec![one]),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        asked.list(Some(&path)).take(FILES_MAX + 1).try_collect().await
    })
    .map_err(failed)?;
    if found.len() > FILES_MAX {
        return Err(refused(format!("more than {FILES_MAX} objects")));
    }
    let names: Vec<&str> = found.iter().map(|meta| meta.location.as_ref()).collect();
    if let Some(why) = table_of(&names) {
        return Err(refused(why));
    }
    let one = found.len() == 1;
    let mut objects: Vec<Object> = found
        .into_iter()
        .filter(|meta| meta.size > 0 && (one || !meta.location.parts().any(|part| is_aside(part.as_ref()))))
        .map(|meta| Object {
            url: format!("{bucket}/{}", meta.location),
            store: Arc::clone(&store),
            path: meta.location,
            bytes: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
            tag: meta.e_tag,
        })
        .collect();
    objects.sort_by(|one, other| FilePath::new(&one.url).cmp(FilePath::new(&other.url)));
    Ok(objects)
}

/// `scheme://bucket` and the path behind it.
fn split(url: &str) -> Option<(&str, &str)> {
    let host = url.find("://")? + 3;
    let rest = url.get(host..).filter(|rest| !rest.is_empty() && !rest.starts_with('/'))?;
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((url.get(..host + bucket.len())?, path))
}

fn connect(url: &str, scheme: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    Ok(match scheme {
        "s3" | "s3a" => Arc::new(AmazonS3Builder::from_env().with_url(url).build()?),
        "gs" => Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url).build()?),
        _ => Arc::new(MicrosoftAzureBuilder::from_env().with_url(url).build()?),
    })
}

/// Runs a request and waits for it, at most so long.
fn within<T: Send + 'static>(
    limit: Duration,
    request: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> io::Result<T> {
    static RUNTIME: OnceLock<io::Result<tokio::runtime::Runtime>> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build());
    let runtime = runtime.as_ref().map_err(|error| io::Error::new(error.kind(), "no runtime"))?;
    let (tell, answer) = sync_channel(1);
    // Not by `block_on`: who reads may be part of another runtime.
    runtime.spawn(async move {
        // Who gave up waiting hears nothing.
        let _ = tell.send(request.await);
    });
    match answer.recv_timeout(limit) {
        Ok(answer) => answer.map_err(|error| told(&error)),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the store does not answer")),
    }
}

/// The error in words that hold neither a signature nor what the store answered.
fn told(error: &Error) -> io::Error {
    let (kind, text) = match error {
        Error::NotFound { .. } => (io::ErrorKind::NotFound, "there is no such object or bucket".to_owned()),
        Error::Precondition { .. } => {
            (io::ErrorKind::InvalidData, "the object has changed since it was found".to_owned())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            (io::ErrorKind::PermissionDenied, "the store refuses these credentials".to_owned())
        }
        other => (io::ErrorKind::Other, without_secrets(&other.to_string())),
    };
    io::Error::new(kind, text)
}

/// Cuts off queries of addresses, which may be signed, and the body of an answer.
fn without_secrets(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let text = text.split(['<', '{', '\n']).next().unwrap_or_default();
    let words = text.split(' ').map(|word| word.split('?').next().unwrap_or_default());
    words.collect::<Vec<_>>().join(" ").chars().take(CHARS_MAX).collect()
}

/// An object whose blocks are kept while they are used.
#[derive(Debug, Clone)]
pub struct AnyPlace {
    object: Object,
    /// Numbers of blocks and their bytes; the one used last is the last.
    blocks: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl AnyPlace {
    /// The bytes from there to the end of their block; none at the end of the object.
    fn from(&self, at: u64) -> io::Result<Bytes> {
        if at >= self.object.bytes {
            return Ok(Bytes::new());
        }
        let number = at / BLOCK_BYTES;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blocks.iter().position(|(known, _)| *known == number).and_then(|at| blocks.remove(at));
        let block = match known {
            Some((_, block)) => block,
            None => {
                let start = number * BLOCK_BYTES;
                let end = start.saturating_add(BLOCK_BYTES).min(self.object.bytes);
                let block = self.object.fetch(start..end)?;
                if u64::try_from(block.len()).ok() != Some(end - start) {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the store sent less than it has",
                    ));
                }
                block
            }
        };
        while blocks.len() >= BLOCKS_MAX {
            blocks.pop_front();
        }
        blocks.push_back((number, block.clone()));
        let within = usize::try_from(at % BLOCK_BYTES).unwrap_or(usize::MAX);
        Ok(block.slice(within.min(block.len())..))
    }
}

impl Length for AnyPlace {
    fn len(&self) -> u64 {
        self.object.bytes
    }
}

impl ChunkReader for AnyPlace {
    type T = Reader;

    fn get_read(&self, start: u64) -> ParquetResult<Reader> {
        Ok(Reader { object: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        if start.checked_add(wanted).is_none_or(|end| end > self.object.bytes) {
            return Err(ParquetError::EOF("the file says more than it has".to_owned()));
        }
        let first = self.from(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        while all.len() < length {
            let at = start.saturating_add(u64::try_from(all.len()).unwrap_or(u64::MAX));
            let more = self.from(at)?;
            let count = more.len().min(length - all.len());
            all.extend_from_slice(&more.slice(..count));
            if count == 0 {
                return Err(ParquetError::EOF("the object is shorter than it was".to_owned()));
            }
        }
        Ok(all.freeze())
    }
}

/// Reads an object from a place on.
#[derive(Debug)]
pub struct Reader {
    object: AnyPlace,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.object.from(self.at)?;
        let count = bytes.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_a_path() {
        for (url, expected) in [
            ("s3://b/x/y", Some(("s3://b", "x/y"))),
            ("s3://b", Some(("s3://b", ""))),
            ("abfss://c@a.dfs.core.windows.net/x/", Some(("abfss://c@a.dfs.core.windows.net", "x/"))),
            ("s3://", None),
            ("s3:///x", None),
        ] {
            assert_eq!(split(url), expected, "{url}");
        }
    }

    #[test]
    fn what_an_error_tells_holds_no_signature_and_no_answer() {
        let text = "GET https://a.net/x?sig=hunter2&se=1 failed with 500: <Error>hunter2</Error>";
        assert_eq!(without_secrets(text), "GET https://a.net/x failed with 500: ");
    }
}
