//! The declarative handler.

use super::spec::MappingSpec;
use super::{EntityHandler, KeyTemplate};
use crate::change::Change;
use crate::error::HandleError;
use crate::mutation::Mutations;

/// The declarative handler of one entity.
#[derive(Debug)]
pub struct Mapping {
    spec: MappingSpec,
    keys: Vec<KeyTemplate>,
}

impl Mapping {
    /// Makes one.
    pub fn new(spec: MappingSpec) -> Mapping {
        let keys = spec.writes.iter().map(|write| KeyTemplate::new(write.key.clone())).collect();
        Mapping { spec, keys }
    }
}

impl EntityHandler for Mapping {
    fn keys(&self) -> &[KeyTemplate] {
        &self.keys
    }

    fn handle(&self, _change: &Change<'_>, _out: &mut Mutations) -> Result<(), HandleError> {
        let writes = self.spec.writes.len();
        Err(HandleError::Handler(format!("{writes} writes, not built").into()))
    }
}
