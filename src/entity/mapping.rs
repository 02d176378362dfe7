//! The declarative handler.

use super::EntityHandler;
use super::spec::MappingSpec;
use crate::change::Change;
use crate::error::HandleError;
use crate::mutation::Mutations;

/// The declarative handler of one entity.
#[derive(Debug)]
pub struct Mapping {
    spec: MappingSpec,
}

impl Mapping {
    /// Makes one.
    pub fn new(spec: MappingSpec) -> Mapping {
        Mapping { spec }
    }
}

impl EntityHandler for Mapping {
    fn handle(&self, _change: &Change<'_>, _out: &mut Mutations) -> Result<(), HandleError> {
        let writes = self.spec.writes.len();
        Err(HandleError::Handler(format!("{writes} writes, not built").into()))
    }
}
