//! Descriptors made ready for reading: messages, fields and enums in flat lists that name each other by index.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind as Declared, MessageDescriptor,
};

use super::super::Ignored;
use super::super::datum::{Member, auxiliary_by_name, members};
use super::kinds::Kinds;
use super::meaning::Meaning;
use crate::types::Kind;

/// Fields of all messages that are read: a thousand tables of a hundred columns.
const FIELDS_MAX: usize = 100_000;

/// A message: index into [`Plan::messages`].
pub(super) type MessageId = usize;

/// A compiled schema: every message that its own text holds, and those that they are made of.
#[derive(Debug)]
pub(in crate::decode) struct Plan {
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Symbols>,
    /// The messages of the schema's own text.
    pub(super) roots: Vec<Root>,
    /// True where Connect's `Timestamp` is a time stamp without a zone.
    pub(super) zoneless: bool,
}

/// A message of the schema's own text, and those inside of it, in the text's order.
#[derive(Debug)]
pub(super) struct Root {
    /// Its own name, without those that it stands in.
    pub(super) name: String,
    pub(super) message: MessageId,
    pub(super) nested: Vec<Root>,
}

#[derive(Debug)]
pub(super) struct Message {
    /// With its package.
    pub(super) name: String,
    /// In the text's order.
    pub(super) fields: Vec<Field>,
    /// Field numbers and indexes, sorted.
    by_number: Vec<(u32, usize)>,
    pub(super) oneof_count: usize,
    pub(super) meaning: Meaning,
    /// What each field is, where the message is a Debezium envelope.
    pub(super) envelope: Option<Vec<Member>>,
    pub(super) auxiliary: Option<Ignored>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) form: Form,
    pub(super) rule: Rule,
    /// Which of the message's choices it belongs to.
    pub(super) oneof: Option<usize>,
    /// What the column means. Untyped where the schema tells no more than JSON would: then the entity's settings
    /// can tell it.
    pub(super) column: Kind,
}

/// How often a field is there, and what its absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Absent: the type's default value.
    Implicit,
    /// Absent: null.
    Explicit,
    /// Absent: an error.
    Required,
    Repeated,
    Map,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Text,
    Bytes,
    /// Index into [`Plan::enums`].
    Enum(usize),
    Message(MessageId),
    Group(MessageId),
}

/// An enum's names.
#[derive(Debug)]
pub(super) struct Symbols {
    /// Sorted by number.
    by_number: Vec<(i32, String)>,
    /// The number of an absent value: the first one's.
    pub(super) first: i32,
}

impl Symbols {
    /// The name of a number; `None` where the schema has none for it.
    pub(super) fn name(&self, number: i32) -> Option<&str> {
        let index = self.by_number.binary_search_by_key(&number, |(found, _)| *found).ok()?;
        self.by_number.get(index).map(|(_, name)| name.as_str())
    }
}

impl Plan {
    /// The plan of a compiled text. The error says what is too large.
    pub(super) fn of(file: &FileDescriptor, zoneless: bool) -> Result<Plan, String> {
        let mut reading = Reading::default();
        let roots = file.messages().map(|message| reading.root(&message)).collect::<Result<_, _>>()?;
        // Messages are added while they are read, each after the one that names it.
        let mut next = 0;
        while let Some(descriptor) = reading.descriptors.get(next).cloned() {
            let message = reading.message(&descriptor)?;
            reading.messages.push(message);
            next += 1;
        }
        let Reading { mut messages, enums, .. } = reading;
        let columns = Kinds::columns(&messages, zoneless);
        for (field, column) in messages.iter_mut().flat_map(|message| &mut message.fields).zip(columns) {
            field.column = column;
        }
        for index in 0..messages.len() {
            let envelope = messages.get(index).and_then(|message| envelope(message, &messages));
            if let Some(message) = messages.get_mut(index) {
                message.envelope = envelope;
            }
        }
        Ok(Plan { messages, enums, roots, zoneless })
    }

    pub(super) fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(id)
    }
}

impl Message {
    /// The field of a number, and its index.
    pub(super) fn by_number(&self, number: u32) -> Option<(usize, &Field)> {
        let at = self.by_number.binary_search_by_key(&number, |(found, _)| *found).ok()?;
        let (_, index) = self.by_number.get(at)?;
        self.fields.get(*index).map(|field| (*index, field))
    }

    /// True where its fields are of exactly these numbers and forms, in this order.
    pub(super) fn has(&self, forms: &[(u32, Form)]) -> bool {
        let found = self.fields.iter().map(|field| (field.number, field.form));
        self.fields.len() == forms.len() && found.eq(forms.iter().copied())
    }
}

fn envelope(message: &Message, messages: &[Message]) -> Option<Vec<Member>> {
    let is_record = |field: &Field| match field.form {
        Form::Message(id) | Form::Group(id) => {
            let plain = messages.get(id).is_some_and(|message| message.meaning == Meaning::Plain);
            plain && !matches!(field.rule, Rule::Repeated | Rule::Map)
        }
        _ => false,
    };
    members(message.fields.iter().map(|field| (field.name.as_str(), is_record(field))))
}

/// What was read so far; `descriptors` may run ahead of `messages`.
#[derive(Default)]
struct Reading {
    messages: Vec<Message>,
    descriptors: Vec<MessageDescriptor>,
    message_ids: HashMap<String, MessageId>,
    enums: Vec<Symbols>,
    enum_ids: HashMap<String, usize>,
    field_count: usize,
}

impl Reading {
    /// The parser bounds the nesting, and so the recursion. Indexes do not count the messages that maps are made of.
    fn root(&mut self, descriptor: &MessageDescriptor) -> Result<Root, String> {
        let message = self.message_id(descriptor);
        let nested = descriptor.child_messages().filter(|child| !child.is_map_entry());
        let nested = nested.map(|child| self.root(&child)).collect::<Result<_, _>>()?;
        Ok(Root { name: descriptor.name().to_owned(), message, nested })
    }

    fn message_id(&mut self, descriptor: &MessageDescriptor) -> MessageId {
        let Reading { descriptors, message_ids, .. } = self;
        *message_ids.entry(descriptor.full_name().to_owned()).or_insert_with(|| {
            descriptors.push(descriptor.clone());
            descriptors.len() - 1
        })
    }

    fn enum_id(&mut self, descriptor: &EnumDescriptor) -> usize {
        let Reading { enums, enum_ids, .. } = self;
        *enum_ids.entry(descriptor.full_name().to_owned()).or_insert_with(|| {
            let named = descriptor.values().map(|value| (value.number(), value.name().to_owned()));
            let mut by_number: Vec<_> = named.collect();
            by_number.sort();
            enums.push(Symbols { by_number, first: descriptor.default_value().number() });
            enums.len() - 1
        })
    }

    fn message(&mut self, descriptor: &MessageDescriptor) -> Result<Message, String> {
        // The descriptor's own list is sorted by number; columns keep the text's order.
        let numbers = descriptor.descriptor_proto().field.iter().filter_map(|field| field.number);
        let numbers = numbers.filter_map(|number| u32::try_from(number).ok());
        let fields = numbers.filter_map(|number| descriptor.get_field(number));
        let fields: Vec<_> = fields.map(|field| self.field(&field)).collect();
        self.field_count += fields.len();
        if self.field_count > FIELDS_MAX {
            return Err(format!("it has more than {FIELDS_MAX} fields"));
        }
        let mut by_number: Vec<_> =
            fields.iter().enumerate().map(|(index, field)| (field.number, index)).collect();
        by_number.sort_unstable();
        let name = descriptor.full_name().to_owned();
        let mut message = Message {
            fields,
            by_number,
            oneof_count: descriptor.oneofs().len(),
            meaning: Meaning::Plain,
            envelope: None,
            auxiliary: auxiliary_by_name(&name),
            name,
        };
        message.meaning = Meaning::of(&message);
        Ok(message)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        let form = match field.kind() {
            Declared::Double => Form::Double,
            Declared::Float => Form::Float,
            Declared::Int32 => Form::Int32,
            Declared::Int64 => Form::Int64,
            Declared::Uint32 => Form::Uint32,
            Declared::Uint64 => Form::Uint64,
            Declared::Sint32 => Form::Sint32,
            Declared::Sint64 => Form::Sint64,
            Declared::Fixed32 => Form::Fixed32,
            Declared::Fixed64 => Form::Fixed64,
            Declared::Sfixed32 => Form::Sfixed32,
            Declared::Sfixed64 => Form::Sfixed64,
            Declared::Bool => Form::Bool,
            Declared::String => Form::Text,
            Declared::Bytes => Form::Bytes,
            Declared::Enum(symbols) => Form::Enum(self.enum_id(&symbols)),
            Declared::Message(message) if field.is_group() => Form::Group(self.message_id(&message)),
            Declared::Message(message) => Form::Message(self.message_id(&message)),
        };
        let rule = match field.cardinality() {
            Cardinality::Repeated if field.is_map() => Rule::Map,
            Cardinality::Repeated => Rule::Repeated,
            Cardinality::Required => Rule::Required,
            Cardinality::Optional if field.supports_presence() => Rule::Explicit,
            Cardinality::Optional => Rule::Implicit,
        };
        // A path ends with the index in the list that it names.
        let oneof = field.containing_oneof().and_then(|oneof| usize::try_from(*oneof.path().last()?).ok());
        let name = field.name().to_owned();
        Field { name, number: field.number(), form, rule, oneof, column: Kind::Untyped }
    }
}
