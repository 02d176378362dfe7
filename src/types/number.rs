//! Rendering booleans, integers, doubles and decimals: digits are moved, never computed with.

use std::borrow::Cow;

use super::binary::decode_padded;
use super::decimal::{Decimal, Notation, special};
use super::json::Items;
use super::part::{Part, is_digits, is_number};
use super::render::{Renderer, Target};
use super::time::push;
use super::{DecimalStyle, ValueError};

const BOOL: &str = "a boolean, 0 or 1";
const INT: &str = "a whole number";
const UINT: &str = "a whole number of at most 64 bits where it is negative";
const DOUBLE: &str = "a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
const DECIMAL: &str = "a decimal as a text or number";
const SCALED: &str = "a decimal as bytes in base64, a text or a number";
const VARIABLE: &str = "a decimal as {\"scale\", \"value\"}, a text or a number";

/// Whole doubles up to here are exact: 2^53.
const EXACT_DOUBLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Renderer<'_> {
    /// `true` or `false`; MySQL's TINYINT(1) and text formats say 1 and 0.
    pub(super) fn boolean(&mut self, part: Part<'_>) -> Result<(), ValueError> {
        let text = match part {
            Part::Bool(true) | Part::Int(1) => "1",
            Part::Bool(false) | Part::Int(0) => "0",
            Part::Number(token) => token,
            Part::Quoted(_) | Part::Text(_) => &*part.text()?.unwrap_or_default(),
            Part::Null
            | Part::Int(_)
            | Part::Double(_)
            | Part::Bytes(_)
            | Part::Array(_)
            | Part::Object(_) => {
                return Err(part.refuse(BOOL));
            }
        };
        let value = match text {
            "1" | "true" | "TRUE" | "True" | "t" => "true",
            "0" | "false" | "FALSE" | "False" | "f" => "false",
            _ => return Err(part.misread(BOOL)),
        };
        self.literal(value);
        Ok(())
    }

    /// A whole number of any width, exact.
    pub(super) fn int(&mut self, part: Part<'_>) -> Result<(), ValueError> {
        match part {
            Part::Int(number) => self.whole(number),
            Part::Number(token) if is_canonical_integer(token) => self.literal(token),
            Part::Number(_) | Part::Quoted(_) | Part::Text(_) => {
                let text = number_text(part)?.ok_or_else(|| part.refuse(INT))?;
                let number =
                    Decimal::from_text(&text).filter(Decimal::is_integer).ok_or_else(|| part.misread(INT))?;
                number.write(Notation::Canonical, &mut self.padding, self.out)?;
            }
            Part::Bool(value) => self.literal(if value { "1" } else { "0" }),
            Part::Double(value) if value.fract() == 0.0 && value.abs() <= EXACT_DOUBLE_MAX => {
                // Zero is added so that -0.0 loses its sign.
                push(self.out, format_args!("{:.0}", value + 0.0));
            }
            Part::Null | Part::Double(_) | Part::Bytes(_) | Part::Array(_) | Part::Object(_) => {
                return Err(part.refuse(INT));
            }
        }
        Ok(())
    }

    /// A whole number that is not negative. A negative one of 64 bits is the same bits read unsigned: how
    /// `bigint.unsigned.handling.mode = long` carries 2^63 and more.
    pub(super) fn uint(&mut self, part: Part<'_>) -> Result<(), ValueError> {
        let from = self.out.len();
        self.int(part)?;
        if self.out.get(from) != Some(&b'-') {
            return Ok(());
        }
        let signed =
            self.out.get(from..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<i64>().ok());
        let unsigned = signed.ok_or_else(|| part.misread(UINT))?.cast_unsigned();
        self.out.truncate(from);
        self.literal(itoa::Buffer::new().format(unsigned));
        Ok(())
    }

    /// A number's digits. The formatting machinery of the standard library takes several times as long.
    pub(super) fn whole(&mut self, number: i64) {
        self.literal(itoa::Buffer::new().format(number));
    }

    /// A double: its token where there is one, else the shortest text that reads back.
    pub(super) fn double(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        match part {
            Part::Number(token) => self.literal(token),
            Part::Int(number) => self.whole(number),
            Part::Double(value) => self.shortest(value, target),
            Part::Quoted(_) | Part::Text(_) => {
                let text = part.text()?.unwrap_or_default();
                if let Some(name) = special(&text) {
                    self.quoted(target, name.as_bytes());
                } else if is_number(&text) {
                    self.literal(&text);
                } else {
                    let number = Decimal::from_text(&text).ok_or_else(|| part.misread(DOUBLE))?;
                    number.write(Notation::AsScaled, &mut self.padding, self.out)?;
                }
            }
            Part::Null | Part::Bool(_) | Part::Bytes(_) | Part::Array(_) | Part::Object(_) => {
                return Err(part.refuse(DOUBLE));
            }
        }
        Ok(())
    }

    /// The shortest text that reads back as the same double. JSON has no infinities: those are texts.
    pub(super) fn shortest(&mut self, value: f64, target: Target) {
        if value.is_nan() {
            self.quoted(target, b"NaN");
        } else if value.is_infinite() {
            self.quoted(target, if value > 0.0 { b"Infinity" } else { b"-Infinity" });
        } else {
            serde_json::to_writer(&mut *self.out, &value).expect("a Vec takes every write");
        }
    }

    /// A decimal. With a scale, a JSON string that is padded base64 is Connect's unscaled integer.
    pub(super) fn decimal(
        &mut self,
        part: Part<'_>,
        scale: Option<i32>,
        target: Target,
    ) -> Result<(), ValueError> {
        let wants = if scale.is_some() { SCALED } else { DECIMAL };
        if let Some(scale) = scale {
            let unscaled = match part {
                Part::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
                // These eight letters are base64 too, but of no number that anybody means.
                Part::Quoted(_) => part
                    .text()?
                    .filter(|text| text != "Infinity")
                    .and_then(|text| decode_padded(&text))
                    .map(Cow::Owned),
                Part::Null
                | Part::Bool(_)
                | Part::Number(_)
                | Part::Int(_)
                | Part::Double(_)
                | Part::Text(_)
                | Part::Array(_)
                | Part::Object(_) => None,
            };
            if let Some(unscaled) = unscaled {
                let number = Decimal::from_unscaled(&unscaled, scale).ok_or_else(|| {
                    ValueError::mismatch("a decimal of at most 160,000 digits", "a longer one")
                })?;
                return self.number(&number, target);
            }
        }
        if let Part::Double(value) = part
            && !value.is_finite()
        {
            self.shortest(value, target);
            return Ok(());
        }
        let text = number_text(part)?.ok_or_else(|| part.refuse(wants))?;
        match special(&text) {
            Some(name) => {
                self.quoted(target, name.as_bytes());
                Ok(())
            }
            None => self.number(&Decimal::from_text(&text).ok_or_else(|| part.misread(wants))?, target),
        }
    }

    /// A decimal with a scale of its own: Debezium's VariableScaleDecimal.
    pub(super) fn variable_decimal(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        let Part::Object(token) = part else {
            return match part {
                Part::Bytes(_) => Err(part.refuse(VARIABLE)),
                _ => self.decimal(part, None, target),
            };
        };
        let (mut scale, mut value) = (None, None);
        let mut members = Items::of_object(token)?;
        while let Some((name, token)) = members.member()? {
            match name {
                "\"scale\"" => scale = token.parse::<i32>().ok(),
                "\"value\"" => value = Part::of(super::Raw::Json(token))?.text()?,
                _ => {}
            }
        }
        let number = scale
            .zip(value.and_then(|text| decode_padded(&text)))
            .and_then(|(scale, unscaled)| Decimal::from_unscaled(&unscaled, scale))
            .ok_or_else(|| part.misread(VARIABLE))?;
        self.number(&number, target)
    }

    fn number(&mut self, number: &Decimal<'_>, target: Target) -> Result<(), ValueError> {
        let quotes = target == Target::Json && self.style.decimal == DecimalStyle::Text;
        let notation = match target {
            Target::Key => Notation::Canonical,
            Target::Json | Target::Text => Notation::AsScaled,
        };
        if quotes {
            self.out.push(b'"');
        }
        number.write(notation, &mut self.padding, self.out)?;
        if quotes {
            self.out.push(b'"');
        }
        Ok(())
    }
}

/// The text that a number is read from; `None` where the part is neither number nor text.
fn number_text(part: Part<'_>) -> Result<Option<Cow<'_, str>>, ValueError> {
    Ok(match part {
        Part::Number(token) => Some(Cow::Borrowed(token)),
        Part::Int(number) => Some(Cow::Owned(number.to_string())),
        Part::Double(value) => serde_json::to_string(&value).ok().map(Cow::Owned),
        Part::Quoted(_) | Part::Text(_) => part.text()?,
        Part::Null | Part::Bool(_) | Part::Bytes(_) | Part::Array(_) | Part::Object(_) => None,
    })
}

/// True for a JSON number token that is its own canonical integer text.
fn is_canonical_integer(token: &str) -> bool {
    token != "-0" && is_digits(token.strip_prefix('-').unwrap_or(token))
}
