//! Messages that stand for one value: times, decimals, wrapped scalars, JSON.
//!
//! Known by name and by their fields, since anybody may give a message of their own that name. Google's:
//! <https://protobuf.dev/reference/protobuf/google.protobuf/>, <https://github.com/googleapis/googleapis/tree/master/google/type>.
//! Confluent's converter writes Connect's `Date`, `Time`, `Timestamp` and `Decimal` as such messages
//! (Confluent's `ProtobufData`).

use super::plan::{Form, Message, Rule};
use crate::types::{Kind, Unit};

/// What a message stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Its fields.
    Plain,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.type.Date`.
    Date,
    /// `google.type.TimeOfDay`.
    TimeOfDay,
    /// `google.type.Decimal`: a text.
    DecimalText,
    /// `confluent.type.Decimal`: a value and its scale.
    Decimal,
    /// Debezium's `VariableScaleDecimal`, which Confluent's converter nests in the row: a scale and a value.
    VariableDecimal,
    /// One of `google.protobuf`'s wrappers of a scalar, which make it optional.
    Wrapper,
    /// `google.protobuf.Struct`: a JSON object.
    JsonObject,
    /// `google.protobuf.ListValue`: a JSON list.
    JsonList,
    /// `google.protobuf.Value`: any JSON.
    JsonValue,
}

impl Meaning {
    pub(super) fn of(message: &Message) -> Meaning {
        let told = |meaning: Meaning, forms: &[(u32, Form)]| {
            if message.has(forms) { meaning } else { Meaning::Plain }
        };
        if let Some(name) = message.name.strip_prefix("google.protobuf.") {
            let wrapped = message.fields.first().map(|field| field.form);
            return match (name, wrapped) {
                ("Timestamp", _) => told(Meaning::Timestamp, &[(1, Form::Int64), (2, Form::Int32)]),
                ("Duration", _) => told(Meaning::Duration, &[(1, Form::Int64), (2, Form::Int32)]),
                ("DoubleValue", Some(form @ Form::Double))
                | ("FloatValue", Some(form @ Form::Float))
                | ("Int64Value", Some(form @ Form::Int64))
                | ("UInt64Value", Some(form @ Form::Uint64))
                | ("Int32Value", Some(form @ Form::Int32))
                | ("UInt32Value", Some(form @ Form::Uint32))
                | ("BoolValue", Some(form @ Form::Bool))
                | ("StringValue", Some(form @ Form::Text))
                | ("BytesValue", Some(form @ Form::Bytes)) => told(Meaning::Wrapper, &[(1, form)]),
                ("Struct", _) if is_list(message, Rule::Map) => Meaning::JsonObject,
                ("ListValue", _) if is_list(message, Rule::Repeated) => Meaning::JsonList,
                ("Value", _) if is_json_value(message) => Meaning::JsonValue,
                _ => Meaning::Plain,
            };
        }
        if message.name.rsplit('.').next() == Some("VariableScaleDecimal") {
            return told(Meaning::VariableDecimal, &[(1, Form::Int32), (2, Form::Bytes)]);
        }
        match message.name.as_str() {
            "google.type.Date" => told(Meaning::Date, &[1, 2, 3].map(|number| (number, Form::Int32))),
            "google.type.TimeOfDay" => {
                told(Meaning::TimeOfDay, &[1, 2, 3, 4].map(|number| (number, Form::Int32)))
            }
            "google.type.Decimal" => told(Meaning::DecimalText, &[(1, Form::Text)]),
            "confluent.type.Decimal" => {
                told(Meaning::Decimal, &[(1, Form::Bytes), (2, Form::Uint32), (3, Form::Int32)])
            }
            _ => Meaning::Plain,
        }
    }

    /// The kind of such values; `None` where the fields tell.
    pub(super) fn kind(self, zoneless: bool) -> Option<Kind> {
        Some(match self {
            Meaning::Plain | Meaning::Wrapper => return None,
            Meaning::Timestamp if zoneless => Kind::Timestamp(Unit::Millis),
            Meaning::Timestamp => Kind::Instant(Unit::Millis),
            Meaning::Duration => Kind::Duration(Unit::Nanos),
            Meaning::Date => Kind::Date,
            Meaning::TimeOfDay => Kind::Time(Unit::Millis),
            Meaning::DecimalText => Kind::Decimal { scale: None },
            Meaning::Decimal | Meaning::VariableDecimal => Kind::VariableDecimal,
            Meaning::JsonObject | Meaning::JsonList | Meaning::JsonValue => Kind::Untyped,
        })
    }
}

fn is_list(message: &Message, rule: Rule) -> bool {
    matches!(message.fields.as_slice(), [only] if only.rule == rule && matches!(only.form, Form::Message(_)))
}

fn is_json_value(message: &Message) -> bool {
    let scalars = message.fields.iter().take(4).map(|field| field.form);
    matches!(scalars.collect::<Vec<_>>().as_slice(), [Form::Enum(_), Form::Double, Form::Text, Form::Bool])
        && message.fields.len() == 6
        && message.fields.iter().all(|field| field.oneof == Some(0))
}
