//! What columns mean, as far as a Protobuf schema tells.

use std::sync::Arc;

use super::plan::{Field, Form, Message, MessageId, Rule};
use crate::types::Kind;

/// Kinds in each other that are told; what lies deeper is passed on as it came. The bound that rendering has, and
/// that of the recursion here: messages may name each other in a chain as long as the schema.
const KIND_HEIGHT_MAX: usize = 64;

/// A kind, and what must be known of it where it is inside another one.
#[derive(Debug, Clone, Default)]
struct Told {
    kind: Kind,
    /// How many kinds it has in each other.
    height: usize,
    /// True where it tells no more than the JSON that is written of the value.
    is_plain: bool,
}

/// The kinds of all messages. One that holds itself is untyped inside: it has no finite kind.
pub(super) struct Kinds<'m> {
    messages: &'m [Message],
    zoneless: bool,
    done: Vec<Option<Told>>,
    begun: Vec<bool>,
}

impl Kinds<'_> {
    /// The kinds of all fields of all messages as columns.
    ///
    /// What tells no more than JSON is untyped: Confluent's converter drops the names of Debezium's types (a
    /// `MicroTimestamp` is a bare `int64`), so that the entity's settings must be able to tell them.
    pub(super) fn columns(messages: &[Message], zoneless: bool) -> Vec<Kind> {
        let (done, begun) = (vec![None; messages.len()], vec![false; messages.len()]);
        let mut kinds = Kinds { messages, zoneless, done, begun };
        let fields = messages.iter().flat_map(|message| &message.fields);
        let column = |field| {
            let Told { kind, is_plain, .. } = kinds.field(field, 0);
            // Bytes, and numbers of 64 bits without a sign, are handed out as such, and are no JSON yet.
            if is_plain || kind == Kind::Bytes { Kind::Untyped } else { kind }
        };
        fields.map(column).collect()
    }

    fn field(&mut self, field: &Field, depth: usize) -> Told {
        match field.rule {
            Rule::Implicit | Rule::Explicit | Rule::Required => self.form(field.form, depth),
            Rule::Repeated => {
                let item = self.form(field.form, depth);
                let Told { height, is_plain, .. } = item;
                higher(Kind::Array(Arc::new(item.kind)), height, is_plain)
            }
            Rule::Map => {
                let messages = self.messages;
                let entry = match field.form {
                    Form::Message(id) => messages.get(id).map(|entry| entry.fields.as_slice()),
                    _ => None,
                };
                let Some([key, value]) = entry else { return Told::default() };
                let (key, value) = (self.form(key.form, depth), self.form(value.form, depth));
                let (height, is_plain) = (value.height, key.is_plain && value.is_plain);
                higher(Kind::Map(Arc::new(key.kind), Arc::new(value.kind)), height, is_plain)
            }
        }
    }

    fn form(&mut self, form: Form, depth: usize) -> Told {
        let (kind, is_plain) = match form {
            Form::Double | Form::Float => (Kind::Double, true),
            Form::Int32
            | Form::Int64
            | Form::Uint32
            | Form::Sint32
            | Form::Sint64
            | Form::Fixed32
            | Form::Sfixed32
            | Form::Sfixed64 => (Kind::Int, true),
            Form::Uint64 | Form::Fixed64 => (Kind::Uint, false),
            Form::Bool => (Kind::Bool, true),
            Form::Text => (Kind::Text, true),
            // A name, or a number that has none.
            Form::Enum(_) => (Kind::Untyped, true),
            Form::Bytes => (Kind::Bytes, false),
            Form::Message(id) | Form::Group(id) => return self.message(id, depth + 1),
        };
        Told { kind, height: 0, is_plain }
    }

    fn message(&mut self, id: MessageId, depth: usize) -> Told {
        if let Some(Some(done)) = self.done.get(id) {
            return done.clone();
        }
        let messages = self.messages;
        let untold = Told { is_plain: true, ..Told::default() };
        let Some(message) = messages.get(id).filter(|_| depth <= KIND_HEIGHT_MAX) else { return untold };
        match self.begun.get_mut(id) {
            Some(begun) if !*begun => *begun = true,
            _ => return untold,
        }
        let told = match message.meaning.kind(self.zoneless) {
            Some(kind) => Told { is_plain: kind == Kind::Untyped, kind, height: 0 },
            None => self.compute(message, depth),
        };
        let told = if told.height > KIND_HEIGHT_MAX { untold } else { told };
        if let Some(done) = self.done.get_mut(id) {
            *done = Some(told.clone());
        }
        told
    }

    fn compute(&mut self, message: &Message, depth: usize) -> Told {
        if let (super::meaning::Meaning::Wrapper, [wrapped]) = (message.meaning, message.fields.as_slice()) {
            return self.form(wrapped.form, depth);
        }
        let (mut height, mut is_plain) = (0, true);
        let fields = message.fields.iter().map(|field| {
            let told = self.field(field, depth);
            height = height.max(told.height);
            is_plain &= told.is_plain;
            (field.name.clone(), told.kind)
        });
        let fields: Arc<[(String, Kind)]> = fields.collect();
        higher(Kind::Struct(fields), height, is_plain)
    }
}

fn higher(kind: Kind, height: usize, is_plain: bool) -> Told {
    Told { kind, height: height + 1, is_plain }
}
