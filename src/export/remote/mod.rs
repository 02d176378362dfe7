//! Exports in object stores: S3, Google Cloud Storage and Azure, behind the cargo feature `object-store`.
//!
//! Without the feature there are no such inputs: [`find`] says so by its name. Start at [`Object`].

#[cfg(feature = "object-store")]
mod store;
#[cfg(not(feature = "object-store"))]
mod without;

#[cfg(feature = "object-store")]
pub use self::store::Object;
#[cfg(feature = "object-store")]
pub(super) use self::store::find;
#[cfg(not(feature = "object-store"))]
pub use self::without::Object;
#[cfg(not(feature = "object-store"))]
pub(super) use self::without::find;

/// The name of the cargo feature.
#[cfg(not(feature = "object-store"))]
const FEATURE: &str = "object-store";

/// The schemes of addresses that are read.
const SCHEMES: &[&str] = &["s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];
