//! `[[entity.write]]`.

use std::time::Duration;

use super::Context;
use super::fields::{chosen, fields_of_json, packing};
use crate::entity::condition::Condition;
use crate::entity::spec::{Columns, Shape, Ttl, TtlBase, WriteSpec};
use crate::entity::template::Template;
use crate::entity::text_template::{TextTemplate, TextTemplateError};
use crate::mutation::MemberKind;
use crate::settings::defaults::TTL_BOUNDS;
use crate::settings::document::Path;
use crate::settings::raw::{DurationText, ShareText};
use crate::settings::raw_entity::{
    Ttl as RawTtl, TtlAfter, TtlColumn, TtlFrom, Value, ValueName, ValueOf, Write,
};

/// What a member's lifetime is.
const MEMBER_TTL: &str = "write ttl = \"none\"";

/// A write as far as its section tells.
pub(super) struct DraftWrite {
    /// Where its key stands.
    pub(super) key_path: Path,
    /// Its key, where that can be read.
    pub(super) key: Option<Template>,
    /// Where its rows are members of the key: of which kind, and, where that can be read, which.
    pub(super) member: Option<(MemberKind, Option<Template>)>,
    /// True where another template may give the same key.
    pub(super) shared: bool,
    /// True where it only deletes.
    pub(super) invalidates: bool,
    /// All of it; `None` where something was refused.
    pub(super) spec: Option<WriteSpec>,
}

/// `[[entity.write]]`, checked.
pub(super) fn write(raw: &Write, path: &Path, context: &mut Context<'_, '_>) -> DraftWrite {
    let key_path = path.key("key");
    let key = raw.key.as_ref().and_then(|raw| template(&raw.0, &key_path, context));
    let shape = raw.value.as_ref().and_then(|raw| shape(raw, &path.key("value"), context));
    let member = member(raw.value.as_ref(), shape.as_ref());
    let invalidates = matches!(raw.value, Some(Value::Name(ValueName::Invalidate)));
    let ttl = if invalidates { without_ttl(raw, path, context) } else { ttl(raw, path, context) };
    let when = raw.when.as_ref().and_then(|raw| compile(&raw.0, &path.key("when"), context));
    let shared = raw.shared.unwrap_or(false);
    let packing = packing(raw, path, context);
    let whole = key.clone().zip(shape).zip(ttl);
    let spec = whole.map(|((key, shape), ttl)| WriteSpec { key, shape, packing, ttl, when, shared });
    DraftWrite { key_path, key, member, shared, invalidates, spec }
}

/// Of which kind of set the rows are members, and under which template.
fn member(raw: Option<&Value>, shape: Option<&Shape>) -> Option<(MemberKind, Option<Template>)> {
    let kind = match raw? {
        Value::Of(ValueOf::Set(_)) => MemberKind::Set,
        Value::Of(ValueOf::SortedSet(_)) => MemberKind::SortedSet,
        Value::Name(_) | Value::Of(_) => return None,
    };
    let template = match shape {
        Some(Shape::Set { member } | Shape::SortedSet { member, .. }) => Some(member.clone()),
        _ => None,
    };
    Some((kind, template))
}

/// A template; where it is wrong, the place inside it.
fn template(text: &str, path: &Path, context: &mut Context<'_, '_>) -> Option<Template> {
    Template::parse(text).map_err(|error| context.findings.refuse_inside(path, error.at, error.problem)).ok()
}

/// A condition.
pub(super) fn compile(text: &str, path: &Path, context: &mut Context<'_, '_>) -> Option<Condition> {
    Condition::compile(text).map_err(|error| context.findings.refuse(path, error.problem)).ok()
}

fn shape(raw: &Value, path: &Path, context: &mut Context<'_, '_>) -> Option<Shape> {
    Some(match raw {
        Value::Name(ValueName::Json) => Shape::Json(Columns::All),
        Value::Name(ValueName::Hash) => Shape::Hash(Columns::All),
        Value::Name(ValueName::Invalidate) => Shape::Invalidate,
        Value::Of(ValueOf::Json(columns)) => fields_of_json(columns, &path.key("json"), context),
        Value::Of(ValueOf::Hash(columns)) => {
            Shape::Hash(Columns::Chosen(chosen(columns, &path.key("hash"), context)))
        }
        Value::Of(ValueOf::Text(text)) => Shape::Text(template(&text.0, &path.key("text"), context)?),
        Value::Of(ValueOf::Template(source)) => {
            let path = path.key("template");
            let compiled = TextTemplate::compile(&source.0);
            let refused =
                |error: TextTemplateError| context.findings.refuse_inside(&path, error.at, error.problem);
            Shape::Template(compiled.map_err(refused).ok()?)
        }
        Value::Of(ValueOf::Bytes(column)) => {
            Shape::Bytes(context.filled(Some(column), &path.key("bytes"))?.to_owned())
        }
        Value::Of(ValueOf::Set(set)) => {
            let path = path.key("set");
            Shape::Set { member: template(&set.member.as_ref()?.0, &path.key("member"), context)? }
        }
        Value::Of(ValueOf::SortedSet(set)) => {
            let path = path.key("sorted_set");
            let member = template(&set.member.as_ref()?.0, &path.key("member"), context);
            let score = context.filled(set.score.as_deref(), &path.key("score"))?.to_owned();
            Shape::SortedSet { member: member?, score }
        }
    })
}

/// `invalidate` writes nothing, so there is nothing that could live or be shared out among rows.
fn without_ttl(raw: &Write, path: &Path, context: &mut Context<'_, '_>) -> Option<Ttl> {
    let mut clean = true;
    for name in ["ttl", "jitter"] {
        if context.findings.says(&path.key(name)) {
            clean = false;
            let message = format!("value = \"invalidate\" deletes the key: it has no {name}");
            context.findings.refuse_field(&path.key(name), message, None);
        }
    }
    if raw.when.is_some() {
        let message = "has no effect: value = \"invalidate\" deletes the key whether it holds or not";
        context.findings.warn(&path.key("when"), message, None);
    }
    clean.then_some(Ttl { base: TtlBase::None, jitter: 0.0 })
}

fn ttl(raw: &Write, path: &Path, context: &mut Context<'_, '_>) -> Option<Ttl> {
    let at = path.key("ttl");
    let is_member = matches!(raw.value, Some(Value::Of(ValueOf::Set(_) | ValueOf::SortedSet(_))));
    let Some(ttl) = &raw.ttl else {
        // One that is said, but wrong, is reported already; and so is a value that might not want one.
        if !context.findings.says(&at) && is_member {
            context.findings.refuse_with(path, "\"ttl\" is missing", MEMBER_TTL);
        } else if !context.findings.says(&at) && raw.value.is_some() {
            let help = "write ttl = \"1h\" (or \"90s\", \"15m\", \"7d\"), { column = \"expires_at\" }, or \"none\" for a \
                        key that never expires";
            context.findings.refuse_with(path, "\"ttl\" is missing", help);
        }
        return None;
    };
    let base = match ttl {
        RawTtl::Fixed(text) if text.0 == "none" => TtlBase::None,
        RawTtl::Fixed(text) => TtlBase::After(millis(&DurationText(text.0.clone()), &at, context)?),
        RawTtl::Column(raw) => by_column(raw, &at, context)?,
        RawTtl::After(raw) => after(raw, &at, context)?,
    };
    if is_member && base != TtlBase::None {
        let message = "members do not expire: a set that expires and starts again with one member is a wrong value, \
                       and no miss";
        context.findings.refuse_with(&at, message, MEMBER_TTL);
        return None;
    }
    let inner = match ttl {
        RawTtl::After(TtlAfter { jitter, .. }) => jitter.as_ref(),
        RawTtl::Fixed(_) | RawTtl::Column(_) => None,
    };
    let jitter = jitter(raw.jitter.as_ref(), inner, path, &base, context)?;
    Some(Ttl { base, jitter })
}

fn jitter(
    beside: Option<&ShareText>,
    inside: Option<&ShareText>,
    path: &Path,
    base: &TtlBase,
    context: &mut Context<'_, '_>,
) -> Option<f64> {
    let (beside_path, inside_path) = (path.key("jitter"), path.key("ttl").key("jitter"));
    let (share, at) = match (beside, inside) {
        (None, None) => return Some(0.0),
        (Some(_), Some(_)) => {
            context.findings.refuse_field(&beside_path, "is said in ttl too: one of the two has to go", None);
            return None;
        }
        (Some(share), None) => (share, beside_path),
        (None, Some(share)) => (share, inside_path),
    };
    let why = match base {
        TtlBase::None => Some("ttl = \"none\" has nothing to vary"),
        TtlBase::Column { .. } => Some("a column says the moment itself: there is nothing to vary"),
        TtlBase::After(_) | TtlBase::AfterCommit(_) => None,
    };
    if let Some(why) = why {
        context.findings.refuse_field(&at, why, None);
        return None;
    }
    let share = context.share(share, &at)?;
    if share >= 1.0 {
        context.findings.refuse(&at, "has to be below 100%: keys would expire as they are written");
        return None;
    }
    Some(share)
}

fn by_column(raw: &TtlColumn, path: &Path, context: &mut Context<'_, '_>) -> Option<TtlBase> {
    let column = context.filled(raw.column.as_deref(), &path.key("column")).map(str::to_owned);
    let mut optional = |raw: Option<&DurationText>, name: &str| match raw {
        Some(raw) => millis(raw, &path.key(name), context).map(Some),
        None => Some(None),
    };
    let at_most = optional(raw.at_most.as_ref(), "at_most");
    let if_null = optional(raw.if_null.as_ref(), "if_null");
    Some(TtlBase::Column { column: column?, at_most: at_most?, if_null: if_null? })
}

fn after(raw: &TtlAfter, path: &Path, context: &mut Context<'_, '_>) -> Option<TtlBase> {
    let duration = millis(raw.after.as_ref()?, &path.key("after"), context)?;
    Some(match raw.from {
        None | Some(TtlFrom::Write) => TtlBase::After(duration),
        Some(TtlFrom::Commit) => TtlBase::AfterCommit(duration),
    })
}

fn millis(raw: &DurationText, path: &Path, context: &mut Context<'_, '_>) -> Option<u64> {
    let duration: Duration = context.duration(raw, path, &TTL_BOUNDS)?;
    u64::try_from(duration.as_millis()).ok()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::entity::Handlers;
    use crate::entity::spec::Chosen;
    use crate::settings::document::Document;
    use crate::settings::problem::Findings;
    use crate::settings::tests::Fake;

    /// A write of these lines, which have no problem.
    fn spec(lines: &str) -> WriteSpec {
        let document = Document::parse("f", lines).unwrap();
        let mut findings = Findings::new(&document);
        let raw: Write = toml::from_str(lines).unwrap();
        let (filled_in, files) = Default::default();
        let mut context = Context {
            findings: &mut findings,
            environment: &Fake::default(),
            handlers: &Handlers::default(),
            filled_in: &filled_in,
            files: &files,
        };
        let draft = write(&raw, &Path::default(), &mut context);
        assert_eq!(findings.sorted(), (vec![], vec![]));
        draft.spec.unwrap()
    }

    #[test]
    fn lifetimes_are_what_they_say() {
        const HOUR: u64 = 3_600_000;
        let column = |at_most, if_null| TtlBase::Column { column: "e".to_owned(), at_most, if_null };
        let cases = [
            ("\"1h\"", TtlBase::After(HOUR), 0.0),
            ("\"1h\"\njitter = \"10%\"", TtlBase::After(HOUR), 0.1),
            ("\"none\"", TtlBase::None, 0.0),
            ("{ after = \"1h\" }", TtlBase::After(HOUR), 0.0),
            ("{ after = \"1h\", jitter = \"10%\", from = \"commit\" }", TtlBase::AfterCommit(HOUR), 0.1),
            ("{ after = \"1h\", from = \"write\" }\njitter = \"10%\"", TtlBase::After(HOUR), 0.1),
            ("{ column = \"e\" }", column(None, None), 0.0),
            (
                "{ column = \"e\", at_most = \"2h\", if_null = \"1h\" }",
                column(Some(2 * HOUR), Some(HOUR)),
                0.0,
            ),
        ];
        for (ttl, base, jitter) in cases {
            let spec = spec(&format!("key = \"c:{{id}}\"\nvalue = \"json\"\nttl = {ttl}"));
            assert_eq!(spec.ttl, Ttl { base, jitter }, "{ttl}");
        }
        let invalidate = spec("key = \"c:{id}\"\nvalue = \"invalidate\"");
        assert_eq!(invalidate.ttl, Ttl { base: TtlBase::None, jitter: 0.0 });
    }

    #[test]
    fn values_are_what_they_say() {
        let chosen = |name: &str, column: &str| Chosen { name: name.to_owned(), column: column.to_owned() };
        let shape = |value: &str| spec(&format!("key = \"c:{{id}}\"\nvalue = {value}\nttl = \"1h\"")).shape;
        assert!(matches!(shape("\"json\""), Shape::Json(Columns::All)));
        assert!(matches!(shape("\"hash\""), Shape::Hash(Columns::All)));
        assert!(matches!(shape("{ text = \"{id}\" }"), Shape::Text(text) if text.as_str() == "{id}"));
        assert!(matches!(shape("{ bytes = \"photo\" }"), Shape::Bytes(column) if column == "photo"));
        let both = Columns::Chosen(vec![chosen("id", "id"), chosen("total", "balance")]);
        let columns = "[\"id\", { name = \"total\", column = \"balance\" }]";
        assert!(matches!(shape(&format!("{{ json = {columns} }}")), Shape::Json(columns) if columns == both));
        assert!(matches!(shape(&format!("{{ hash = {columns} }}")), Shape::Hash(columns) if columns == both));
    }

    #[test]
    fn members_are_what_they_say() {
        let shape = |value: &str| spec(&format!("key = \"board\"\nvalue = {value}\nttl = \"none\"")).shape;
        assert!(
            matches!(shape("{ set = { member = \"{id}\" } }"), Shape::Set { member } if member.as_str() == "{id}")
        );
        let sorted = shape("{ sorted_set = { member = \"u:{id}\", score = \"points\" } }");
        assert!(
            matches!(sorted, Shape::SortedSet { member, score } if member.as_str() == "u:{id}" && score == "points")
        );
    }

    #[test]
    fn conditions_and_sharing_are_carried_over() {
        let spec = spec("key = \"c:{id}\"\nvalue = \"json\"\nttl = \"1h\"\nwhen = \"true\"\nshared = true");
        assert_eq!(spec.key.as_str(), "c:{id}");
        assert_eq!(spec.when.unwrap().as_str(), "true");
        assert!(spec.shared);
    }
}
