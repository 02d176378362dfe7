//! Values of which the event holds only some columns, for `unavailable = "merge"`.

use super::super::access::value_error;
use super::super::handler::RowImage;
use super::super::spec::Columns;
use super::{Named, chosen_cells};
use crate::change::{Cell, Op};
use crate::error::HandleError;
use crate::patch::{Field, Others, Patch, PatchShape, Told};
use crate::types::{self, RenderStyle};

/// A part of a JSON object; `None` where it tells nothing that could be kept.
pub(super) fn of_json(
    columns: &Columns,
    others: Others,
    row: &RowImage<'_>,
) -> Result<Option<Patch>, HandleError> {
    part(PatchShape::Json, columns, others, row, |named, style| {
        let mut name = Vec::new();
        types::json_string(named.name, &mut name);
        let told = match named.cell {
            Cell::Present(typed) => {
                let mut json = Vec::new();
                types::render_json(typed, style, &mut json)
                    .map_err(|error| value_error(named.column, error))?;
                Told::Value(json)
            }
            Cell::Null | Cell::Absent => Told::Value(b"null".to_vec()),
            Cell::Unavailable => Told::Kept,
        };
        Ok(Field { name, told })
    })
}

/// A part of a hash; `None` where it tells nothing that could be kept.
pub(super) fn of_hash(
    columns: &Columns,
    others: Others,
    row: &RowImage<'_>,
) -> Result<Option<Patch>, HandleError> {
    part(PatchShape::Hash, columns, others, row, |named, style| {
        let told = match named.cell {
            Cell::Present(typed) => {
                let mut text = Vec::new();
                types::render_text(typed, style, &mut text)
                    .map_err(|error| value_error(named.column, error))?;
                Told::Value(text)
            }
            Cell::Null | Cell::Absent => Told::Gone,
            Cell::Unavailable => Told::Kept,
        };
        Ok(Field { name: named.name.as_bytes().to_vec(), told })
    })
}

/// Only an update leaves in the cache what it does not tell: a row that was created, or read by a snapshot, has
/// none of what the key may hold. Chosen columns are all that the value has, whatever the row has beside them.
fn part(
    shape: PatchShape,
    columns: &Columns,
    others: Others,
    row: &RowImage<'_>,
    field: impl Fn(&Named<'_>, RenderStyle) -> Result<Field, HandleError>,
) -> Result<Option<Patch>, HandleError> {
    let cells = chosen_cells(columns, row)?;
    let holds_part = cells.iter().any(|named| named.cell == Cell::Unavailable);
    if row.is_stored() || row.change().op != Op::Update || !holds_part {
        return Ok(None);
    }
    let fields = cells.iter().map(|named| field(named, row.style())).collect::<Result<Vec<_>, _>>()?;
    let others = match columns {
        Columns::All => others,
        Columns::Chosen(_) => Others::Dropped,
    };
    Ok(Some(Patch::new(shape, fields, others)))
}

#[cfg(test)]
mod tests {
    use crate::change::{Change, Op};
    use crate::entity::spec::{Chosen, Columns, MappingSpec, Shape, Ttl, TtlBase, Unavailable, WriteSpec};
    use crate::entity::testing::{change_of, effects, entity, without_positions, write};
    use crate::entity::{Entity, Mapping, ReplicaIdentity};
    use crate::patch::Others;

    const KEY: &str = r#"{"id":7}"#;
    const PART: &str = r#"{"id":7,"bio":"<unavailable>","n":1.50,"x":null}"#;

    fn merging(writes: Vec<WriteSpec>, others: Others) -> Entity {
        let unavailable = Unavailable::Merge(others);
        let spec = MappingSpec { writes, delete_when: None, value_bytes_max: 1_000, unavailable };
        entity(std::sync::Arc::new(Mapping::new(spec)))
    }

    fn shaped(key: &str, shape: Shape) -> WriteSpec {
        WriteSpec { shape, ..write(key) }
    }

    fn json(key: &str) -> Entity {
        merging(vec![shaped(key, Shape::Json(Columns::All))], Others::Dropped)
    }

    fn update(before: &str, after: &str) -> Change<'static> {
        change_of(Op::Update, KEY, before, after)
    }

    #[test]
    fn an_update_that_holds_only_a_part_is_a_patch_of_each_shape() {
        let chosen = |names: &[&str]| {
            let chosen = |name: &&str| Chosen { name: name.to_uppercase(), column: (*name).into() };
            Columns::Chosen(names.iter().map(chosen).collect())
        };
        for (shape, others, expected) in [
            (
                Shape::Json(Columns::All),
                Others::Dropped,
                r#"patch c:7 ["id"=7 "bio" kept "n"=1.50 "x"=null]"#,
            ),
            (
                Shape::Json(Columns::All),
                Others::Kept,
                r#"patch c:7 ["id"=7 "bio" kept "n"=1.50 "x"=null] others kept"#,
            ),
            (Shape::Json(chosen(&["n", "bio"])), Others::Kept, r#"patch c:7 ["N"=1.50 "BIO" kept]"#),
            (Shape::Hash(Columns::All), Others::Dropped, "patch c:7 [id=7 bio kept n=1.50 x gone]"),
            (Shape::Hash(chosen(&["bio"])), Others::Dropped, "patch c:7 [BIO kept]"),
            (Shape::Json(chosen(&["n"])), Others::Dropped, r#"write c:7 = {"N":1.50}"#),
            (Shape::Invalidate, Others::Dropped, "delete c:7"),
        ] {
            let entity = merging(vec![shaped("c:{id}", shape.clone())], others);
            assert_eq!(effects(&entity, update("", PART)), [expected], "{shape:?} {others:?}");
        }
    }

    #[test]
    fn created_and_read_rows_delete_as_if_nothing_could_be_kept() {
        for op in [Op::Create, Op::Read] {
            assert_eq!(effects(&json("c:{id}"), change_of(op, KEY, "", PART)), ["delete c:7"], "{op:?}");
        }
    }

    #[test]
    fn a_lifetime_or_condition_that_is_not_told_deletes() {
        let base = TtlBase::Column { column: "bio".into(), at_most: None, if_null: None };
        let by_bio =
            WriteSpec { ttl: Ttl { base, jitter: 0.0 }, ..shaped("c:{id}", Shape::Json(Columns::All)) };
        assert_eq!(effects(&merging(vec![by_bio], Others::Dropped), update("", PART)), ["delete c:7"]);
        let when = crate::entity::condition::Condition::compile("after.bio == 'x'").ok();
        let if_bio = WriteSpec { when, ..shaped("c:{id}", Shape::Json(Columns::All)) };
        assert_eq!(effects(&merging(vec![if_bio], Others::Dropped), update("", PART)), ["delete c:7"]);
    }

    /// What another key holds is another row's, or this row's of long ago.
    #[test]
    fn only_a_key_that_the_row_certainly_had_is_patched() {
        let full = |entity: Entity| Entity { replica_identity: ReplicaIdentity::Full, ..entity };
        let after = r#"{"id":7,"r":"eu","bio":"<unavailable>"}"#;
        let patch = r#"patch c:eu:7 ["id"=7 "r"="eu" "bio" kept]"#;
        for (name, entity, before, expected) in [
            ("not told whether it changed", json("c:{r}:{id}"), "", vec!["delete c:eu:7"]),
            ("the same", full(json("c:{r}:{id}")), r#"{"id":7,"r":"eu"}"#, vec![patch]),
            (
                "another",
                full(json("c:{r}:{id}")),
                r#"{"id":7,"r":"us"}"#,
                vec!["delete c:us:7", "delete c:eu:7"],
            ),
            (
                "a changed key column",
                full(json("c:{id}")),
                r#"{"id":6,"r":"eu"}"#,
                vec!["delete c:6", "delete c:7"],
            ),
        ] {
            assert_eq!(effects(&entity, update(before, after)), expected, "{name}");
        }
    }

    #[test]
    fn a_secondary_key_is_patched_under_the_guard_for_the_row_that_had_it() {
        let full = Entity { replica_identity: ReplicaIdentity::Full, ..json("e:{e}") };
        let after = r#"{"id":7,"e":"a","bio":"<unavailable>"}"#;
        let patch = r#"patch e:a ["id"=7 "e"="a" "bio" kept] by public.customers:7 v9"#;
        let gone = "delete e:a by public.customers:7 v9";
        assert_eq!(effects(&full, update(r#"{"id":7,"e":"a"}"#, after)), [patch]);
        assert_eq!(effects(&json("e:{e}"), update("", after)), [gone], "not told");
        let moved = effects(&full, update(r#"{"id":6,"e":"a"}"#, after));
        assert_eq!(moved, ["delete e:a by public.customers:6 v9", gone], "of another row");
        let plain = without_positions(update(r#"{"id":7,"e":"a"}"#, after));
        let compared = effects(&full, plain);
        assert_eq!(compared, ["delete e:a"], "nothing orders it");
        let unavailable = r#"{"id":7,"e":"<unavailable>","bio":1}"#;
        assert_eq!(
            effects(&full, update("", unavailable)),
            [r#"error key_column: key column "e" of "e:{e}" is unavailable"#]
        );
    }
}
