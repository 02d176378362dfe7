//! What a primitive column's values mean: physical and logical type to ours.
//!
//! <https://parquet.apache.org/docs/file-format/types/logicaltypes/>; the older `ConvertedType` where there is no
//! logical type.

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use ::parquet::data_type::Int96;
use ::parquet::schema::types::Type;
use num_bigint::BigInt;

use crate::types::{IsoText, Kind, Unit};

/// How a value becomes a raw part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// An integer without a sign in the 32 bits of one with it.
    Unsigned32,
    /// An unscaled integer with so many digits after the point: as text.
    Decimal(i32),
    /// Days and nanoseconds: as text.
    Int96,
    /// Two bytes, IEEE 754 half precision.
    Half,
    /// Months, days and milliseconds: as text.
    Interval,
}

/// Digits after the point that are believed: Parquet's own bound is the precision, which 38 is the usual most of.
const SCALE_MAX: i32 = 1_000;

/// Of a primitive type.
pub(super) fn of(primitive: &Type) -> (Kind, Form) {
    let basic = primitive.get_basic_info();
    let physical = primitive.get_physical_type();
    if physical == Physical::INT96 {
        return (Kind::IsoText(IsoText::Timestamp), Form::Int96);
    }
    if let Some(logical) = basic.logical_type_ref() {
        match (logical, physical) {
            (LogicalType::String | LogicalType::Enum, _) => return (Kind::Text, Form::Plain),
            (LogicalType::Json, _) => return (Kind::Json, Form::Plain),
            (LogicalType::Uuid, _) => return (Kind::Uuid, Form::Plain),
            (LogicalType::Decimal(decimal), _) => return decimal_of(decimal.scale),
            (LogicalType::Date, _) => return (Kind::Date, Form::Plain),
            (LogicalType::Time(time), _) => return (Kind::Time(unit(&time.unit)), Form::Plain),
            (LogicalType::Timestamp(stamp), _) => {
                let unit = unit(&stamp.unit);
                let kind =
                    if stamp.is_adjusted_to_u_t_c { Kind::Instant(unit) } else { Kind::Timestamp(unit) };
                return (kind, Form::Plain);
            }
            (LogicalType::Integer(int), Physical::INT32) if !int.is_signed => {
                return (Kind::Uint, Form::Unsigned32);
            }
            (LogicalType::Integer(int), Physical::INT64) if !int.is_signed => {
                return (Kind::Uint, Form::Plain);
            }
            (LogicalType::Float16, _) => return (Kind::Double, Form::Half),
            _ => {}
        }
    }
    match (basic.converted_type(), physical) {
        (ConvertedType::UTF8 | ConvertedType::ENUM, _) => (Kind::Text, Form::Plain),
        (ConvertedType::JSON, _) => (Kind::Json, Form::Plain),
        (ConvertedType::DECIMAL, _) => decimal_of(primitive.get_scale()),
        (ConvertedType::DATE, _) => (Kind::Date, Form::Plain),
        (ConvertedType::TIME_MILLIS, _) => (Kind::Time(Unit::Millis), Form::Plain),
        (ConvertedType::TIME_MICROS, _) => (Kind::Time(Unit::Micros), Form::Plain),
        // The older names are of instants.
        (ConvertedType::TIMESTAMP_MILLIS, _) => (Kind::Instant(Unit::Millis), Form::Plain),
        (ConvertedType::TIMESTAMP_MICROS, _) => (Kind::Instant(Unit::Micros), Form::Plain),
        (ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32, Physical::INT32) => {
            (Kind::Uint, Form::Unsigned32)
        }
        (ConvertedType::UINT_64, _) => (Kind::Uint, Form::Plain),
        (ConvertedType::INTERVAL, _) => (Kind::IntervalText, Form::Interval),
        (_, Physical::BOOLEAN) => (Kind::Bool, Form::Plain),
        (_, Physical::INT32 | Physical::INT64) => (Kind::Int, Form::Plain),
        (_, Physical::FLOAT | Physical::DOUBLE) => (Kind::Double, Form::Plain),
        (_, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY | Physical::INT96) => {
            (Kind::Bytes, Form::Plain)
        }
    }
}

fn decimal_of(scale: i32) -> (Kind, Form) {
    (Kind::Decimal { scale: None }, Form::Decimal(scale.clamp(0, SCALE_MAX)))
}

fn unit(unit: &TimeUnit) -> Unit {
    match unit {
        TimeUnit::MILLIS => Unit::Millis,
        TimeUnit::MICROS => Unit::Micros,
        TimeUnit::NANOS => Unit::Nanos,
    }
}

/// Appends a decimal in plain notation with its scale.
pub(super) fn push_decimal(unscaled: &[u8], scale: i32, out: &mut String) {
    let number = BigInt::from_signed_bytes_be(unscaled);
    push_scaled(number.sign() == num_bigint::Sign::Minus, &number.magnitude().to_string(), scale, out);
}

/// The same of an integer.
pub(super) fn push_decimal_int(unscaled: i64, scale: i32, out: &mut String) {
    push_scaled(unscaled < 0, &unscaled.unsigned_abs().to_string(), scale, out);
}

fn push_scaled(negative: bool, digits: &str, scale: i32, out: &mut String) {
    let scale = usize::try_from(scale).unwrap_or(0);
    if negative {
        out.push('-');
    }
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        out.push('.');
        (fraction.len()..scale).for_each(|_| out.push('0'));
        out.push_str(fraction);
    }
}

/// Julian day of 1970-01-01.
const EPOCH_JULIAN_DAY: i64 = 2_440_588;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Appends an INT96 time stamp in ISO 8601. It ends in `Z`, which only means something where it is read as an
/// instant. Exact for every day, which nanoseconds since 1970 are not.
pub(super) fn push_int96(value: &Int96, out: &mut String) -> Result<(), &'static str> {
    use std::fmt::Write as _;
    const WRONG: &str = "an INT96 is no time stamp";
    let [low, high, day] = value.data() else { return Err(WRONG) };
    let nanos = (u64::from(*high) << 32 | u64::from(*low)).cast_signed();
    let days = i64::from(*day) - EPOCH_JULIAN_DAY + nanos.div_euclid(NANOS_PER_DAY);
    let nanos = nanos.rem_euclid(NANOS_PER_DAY);
    let seconds = days.checked_mul(86_400).and_then(|seconds| seconds.checked_add(nanos / 1_000_000_000));
    let seconds = seconds.ok_or(WRONG)?;
    let fraction = i32::try_from(nanos % 1_000_000_000).map_err(|_| WRONG)?;
    let stamp = jiff::Timestamp::new(seconds, fraction).map_err(|_| WRONG)?;
    write!(out, "{stamp}").map_err(|_| WRONG)
}

/// The double of a half: sign, five bits of exponent, ten of fraction, the lowest byte first.
pub(super) fn half(bytes: &[u8]) -> Result<f64, &'static str> {
    let bits = <[u8; 2]>::try_from(bytes).map(u16::from_le_bytes).map_err(|_| "a half has two bytes")?;
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f64::from(bits & 0x3ff));
    Ok(sign
        * match exponent {
            0 => fraction / 1024.0 * 2_f64.powi(-14),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
        })
}

/// Appends an interval in ISO 8601, as one of Avro's durations is rendered.
pub(super) fn push_interval(bytes: &[u8], out: &mut String) -> Result<(), &'static str> {
    use std::fmt::Write as _;
    const WRONG: &str = "an interval has twelve bytes";
    let (parts, rest) = bytes.as_chunks::<4>();
    let ([months, days, millis], []) = (parts, rest) else { return Err(WRONG) };
    let [months, days, millis] = [months, days, millis].map(|part| u32::from_le_bytes(*part));
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    write!(out, "P{months}M{days}DT{seconds}{}S", fraction.trim_end_matches('0')).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_scale() {
        for (number, scale, expected) in [
            (1250, 2, "12.50"),
            (-5, 2, "-0.05"),
            (7, 0, "7"),
            (0, 3, "0.000"),
            (i64::MIN, 1, "-922337203685477580.8"),
        ] {
            let (mut int, mut bytes) = (String::new(), String::new());
            push_decimal_int(number, scale, &mut int);
            push_decimal(&number.to_be_bytes(), scale, &mut bytes);
            assert_eq!((int.as_str(), bytes.as_str()), (expected, expected));
        }
    }

    #[test]
    fn int96_is_exact_far_from_1970() {
        let shown = |day: u32, nanos: u64| {
            let mut value = Int96::new();
            let [low, high] = [nanos & 0xffff_ffff, nanos >> 32].map(|half| u32::try_from(half).unwrap());
            value.set_data(low, high, day);
            let mut out = String::new();
            push_int96(&value, &mut out).map(|()| out)
        };
        assert_eq!(shown(2_440_588, 0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(shown(2_440_589, 1).unwrap(), "1970-01-02T00:00:00.000000001Z");
        assert_eq!(shown(2_305_448, 0).unwrap(), "1600-01-01T00:00:00Z");
        assert!(shown(u32::MAX, 0).is_err());
    }

    #[test]
    fn halves_are_doubles() {
        for (bits, expected) in [
            (0x3c00_u16, 1.0),
            (0xc000, -2.0),
            (0x0001, 2_f64.powi(-24)),
            (0x7c00, f64::INFINITY),
            (0x3555, 0.333_251_953_125),
        ] {
            assert_eq!(half(&bits.to_le_bytes()).unwrap(), expected);
        }
    }
}
