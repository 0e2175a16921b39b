//! Values as PostgreSQL has them: Arrow columns → types and bytes, as text or binary; parameters → DataFusion's values.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Schema,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};

use crate::api::problem::Problem;
use crate::service::query::Rows;

/// Days and microseconds from Unix's epoch to PostgreSQL's, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// The types that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are PostgreSQL's")]
pub enum Type {
    Bool,
    Bytea,
    Char,
    Name,
    Int8,
    Int2,
    Int4,
    Text,
    Oid,
    Json,
    Float4,
    Float8,
    Unknown,
    TextArray,
    Bpchar,
    Varchar,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Numeric,
}

/// Each type with its number, its name in pg_type and in SQL, its bytes (-1 where they differ) and its category.
pub const TYPES: [(Type, u32, &str, &str, i16, &str); 22] = [
    (Type::Bool, 16, "bool", "boolean", 1, "B"),
    (Type::Bytea, 17, "bytea", "bytea", -1, "U"),
    (Type::Char, 18, "char", "\"char\"", 1, "Z"),
    (Type::Name, 19, "name", "name", 64, "S"),
    (Type::Int8, 20, "int8", "bigint", 8, "N"),
    (Type::Int2, 21, "int2", "smallint", 2, "N"),
    (Type::Int4, 23, "int4", "integer", 4, "N"),
    (Type::Text, 25, "text", "text", -1, "S"),
    (Type::Oid, 26, "oid", "oid", 4, "N"),
    (Type::Json, 114, "json", "json", -1, "U"),
    (Type::Float4, 700, "float4", "real", 4, "N"),
    (Type::Float8, 701, "float8", "double precision", 8, "N"),
    (Type::Unknown, 705, "unknown", "unknown", -2, "X"),
    (Type::TextArray, 1009, "_text", "text[]", -1, "A"),
    (Type::Bpchar, 1042, "bpchar", "character", -1, "S"),
    (Type::Varchar, 1043, "varchar", "character varying", -1, "S"),
    (Type::Date, 1082, "date", "date", 4, "D"),
    (Type::Time, 1083, "time", "time without time zone", 8, "D"),
    (Type::Timestamp, 1114, "timestamp", "timestamp without time zone", 8, "D"),
    (Type::TimestampTz, 1184, "timestamptz", "timestamp with time zone", 8, "D"),
    (Type::Interval, 1186, "interval", "interval", 16, "T"),
    (Type::Numeric, 1700, "numeric", "numeric", -1, "N"),
];

impl Type {
    fn row(self) -> &'static (Type, u32, &'static str, &'static str, i16, &'static str) {
        TYPES.iter().find(|t| t.0 == self).unwrap_or(&TYPES[7])
    }

    /// Its number.
    pub fn oid(self) -> u32 {
        self.row().1
    }

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        self.row().3
    }

    /// Its bytes; negative where they differ.
    pub fn size(self) -> i16 {
        self.row().4
    }

    /// The type of a number.
    pub fn of(oid: u32) -> Option<Type> {
        TYPES.iter().find(|t| t.1 == oid).map(|t| t.0)
    }
}

/// In which formats a client sends or wants values: all in one, or each in its own; text where it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Formats(pub Vec<i16>);

impl Formats {
    fn binary(&self, i: usize) -> bool {
        let code = if self.0.len() == 1 { self.0.first() } else { self.0.get(i) };
        code == Some(&1)
    }
}

/// The type of a column.
pub fn kind(kind: &DataType) -> Type {
    match kind {
        DataType::Boolean => Type::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Type::Int2,
        DataType::UInt16 | DataType::Int32 => Type::Int4,
        DataType::UInt32 => Type::Oid,
        DataType::Int64 => Type::Int8,
        DataType::Float16 | DataType::Float32 => Type::Float4,
        DataType::Float64 => Type::Float8,
        DataType::UInt64 | DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => Type::Numeric,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::Bytea,
        DataType::Date32 | DataType::Date64 => Type::Date,
        DataType::Time32(_) | DataType::Time64(_) => Type::Time,
        DataType::Timestamp(_, None) => Type::Timestamp,
        DataType::Timestamp(_, Some(_)) => Type::TimestampTz,
        DataType::Interval(_) | DataType::Duration(_) => Type::Interval,
        DataType::Dictionary(_, of) => self::kind(of),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) | DataType::ListView(of) if !of.data_type().is_nested() => {
            Type::TextArray
        }
        nested if nested.is_nested() => Type::Json,
        _ => Type::Text,
    }
}

/// The Arrow type in which values of a type are written or read.
fn arrow(kind: Type) -> DataType {
    match kind {
        Type::Bool => DataType::Boolean,
        Type::Int2 => DataType::Int16,
        Type::Int4 => DataType::Int32,
        Type::Oid => DataType::UInt32,
        Type::Int8 => DataType::Int64,
        Type::Float4 => DataType::Float32,
        Type::Float8 => DataType::Float64,
        Type::Bytea => DataType::Binary,
        Type::Date => DataType::Date32,
        Type::Time => DataType::Time64(TimeUnit::Microsecond),
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        Type::TextArray => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        _ => DataType::Utf8,
    }
}

/// The columns of an answer.
pub fn columns(schema: &Schema) -> Vec<(String, Type)> {
    schema.fields().iter().map(|f| (f.name().clone(), kind(f.data_type()))).collect()
}

/// The columns as they are described to a client that wants them in these formats.
pub fn description(columns: &[(String, Type)], formats: &Formats) -> RowDescription {
    let field = |(i, (name, kind)): (usize, &(String, Type))| FieldDescription::new(name.clone(), 0, 0, kind.oid(), kind.size(), -1, formats.binary(i).into());
    RowDescription::new(columns.iter().enumerate().map(field).collect())
}

/// The rows of an answer, written.
///
/// # Errors
/// When a value has no form in PostgreSQL.
pub fn rows(rows: &Rows, columns: &[(String, Type)], formats: &Formats) -> Result<Vec<DataRow>, ArrowError> {
    let mut written = vec![];
    for batch in &rows.batches {
        write_batch(batch, columns, formats, &mut written)?;
    }
    Ok(written)
}

fn write_batch(batch: &RecordBatch, columns: &[(String, Type)], formats: &Formats, into: &mut Vec<DataRow>) -> Result<(), ArrowError> {
    let arrays = batch.columns().iter().zip(columns).map(|(array, (_, kind))| ready(array, *kind)).collect::<Result<Vec<_>, _>>()?;
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f+00"))
        .with_time_format(Some("%H:%M:%S%.f"));
    let texts = arrays.iter().map(|a| ArrayFormatter::try_new(a, &options)).collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let mut data = BytesMut::with_capacity(arrays.len() * 16);
        for (i, (array, text)) in arrays.iter().zip(&texts).enumerate() {
            if array.is_null(row) {
                data.put_i32(-1);
                continue;
            }
            let at = data.len();
            data.put_i32(0);
            if formats.binary(i) {
                write_binary(array, row, columns[i].1, &mut data);
            } else {
                write_text(array, row, columns[i].1, text, &mut data)?;
            }
            let length = i32::try_from(data.len() - at - 4).map_err(|_| ArrowError::ComputeError("a value is longer than 2 GiB".into()))?;
            data[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        into.push(DataRow::new(data, i16::try_from(arrays.len()).unwrap_or(i16::MAX)));
    }
    Ok(())
}

/// A column in the type in which it is written.
fn ready(column: &ArrayRef, kind: Type) -> Result<ArrayRef, ArrowError> {
    if kind == Type::Json {
        return json(column);
    }
    let column = match column.data_type() {
        // Its time zone is another one's, its instants are not.
        DataType::Timestamp(unit, Some(_)) => cast(column, &DataType::Timestamp(*unit, Some("UTC".into())))?,
        _ => Arc::clone(column),
    };
    cast(&column, &arrow(kind))
}

/// Lists and maps as JSON.
fn json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("v", column.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(column)])?;
    let mut writer = arrow_json::ArrayWriter::new(vec![]);
    writer.write(&batch)?;
    writer.finish()?;
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&writer.into_inner()).map_err(|e| ArrowError::JsonError(e.to_string()))?;
    let texts = rows.iter().map(|row| row.get("v").filter(|v| !v.is_null()).map(ToString::to_string));
    Ok(Arc::new(texts.collect::<datafusion::arrow::array::StringArray>()))
}

fn write_text(column: &ArrayRef, row: usize, kind: Type, text: &ArrayFormatter<'_>, out: &mut BytesMut) -> Result<(), ArrowError> {
    let text = match kind {
        Type::Bool => if column.as_boolean().value(row) { "t" } else { "f" }.to_string(),
        Type::Float4 => float(column.as_primitive::<Float32Type>().value(row).into(), &column.as_primitive::<Float32Type>().value(row)),
        Type::Float8 => float(column.as_primitive::<Float64Type>().value(row), &column.as_primitive::<Float64Type>().value(row)),
        Type::Bytea => column.as_binary::<i32>().value(row).iter().fold("\\x".to_string(), |text, byte| text + &format!("{byte:02x}")),
        Type::Interval => interval(column, row),
        Type::TextArray => list(column.as_list(), row),
        _ => text.value(row).try_to_string()?,
    };
    out.put_slice(text.as_bytes());
    Ok(())
}

/// A number as PostgreSQL prints it: with an exponent where it is long.
fn float(value: f64, shown: &(impl std::fmt::Display + std::fmt::LowerExp)) -> String {
    match value {
        v if v.is_nan() => "NaN".into(),
        v if v.is_infinite() => if v > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        v if v == 0.0 || (1e-4..1e15).contains(&v.abs()) => shown.to_string(),
        _ => {
            let text = format!("{shown:e}");
            if text.contains("e-") { text } else { text.replace('e', "e+") }
        }
    }
}

fn interval(column: &ArrayRef, row: usize) -> String {
    let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
    let micros = value.nanoseconds / 1_000;
    let (seconds, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let mut parts = vec![];
    for (n, unit) in [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")] {
        if n != 0 {
            parts.push(format!("{n} {unit}{}", if n == 1 { "" } else { "s" }));
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 { "-" } else { "" };
        let fraction = if rest == 0 { String::new() } else { format!(".{rest:06}").trim_end_matches('0').to_string() };
        parts.push(format!("{sign}{:02}:{:02}:{:02}{fraction}", seconds / 3_600, seconds / 60 % 60, seconds % 60));
    }
    parts.join(" ")
}

/// `{a,"b c",NULL}`
fn list(column: &ListArray, row: usize) -> String {
    let items = column.value(row);
    let items = items.as_string::<i32>().iter().map(|item| match item {
        None => "NULL".to_string(),
        Some(text) if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(|c: char| "{},\"\\".contains(c) || c.is_whitespace()) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        Some(text) => text.to_string(),
    });
    format!("{{{}}}", items.collect::<Vec<_>>().join(","))
}

fn write_binary(column: &ArrayRef, row: usize, kind: Type, out: &mut BytesMut) {
    match kind {
        Type::Bool => out.put_u8(column.as_boolean().value(row).into()),
        Type::Int2 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        Type::Int4 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        Type::Oid => out.put_u32(column.as_primitive::<UInt32Type>().value(row)),
        Type::Int8 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        Type::Float4 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        Type::Float8 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        Type::Bytea => out.put_slice(column.as_binary::<i32>().value(row)),
        Type::Date => out.put_i32(column.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS)),
        Type::Time => out.put_i64(column.as_primitive::<Time64MicrosecondType>().value(row)),
        Type::Timestamp | Type::TimestampTz => out.put_i64(column.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(EPOCH_MICROS)),
        Type::Interval => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(value.nanoseconds / 1_000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        Type::TextArray => list_binary(column.as_list(), row, out),
        Type::Numeric => numeric(column.as_string::<i32>().value(row), out),
        _ => out.put_slice(column.as_string::<i32>().value(row).as_bytes()),
    }
}

fn list_binary(column: &ListArray, row: usize, out: &mut BytesMut) {
    let items = column.value(row);
    let items = items.as_string::<i32>();
    out.put_i32(if items.is_empty() { 0 } else { 1 });
    out.put_i32((items.null_count() > 0).into());
    out.put_u32(Type::Text.oid());
    if !items.is_empty() {
        out.put_i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
        out.put_i32(1);
    }
    for item in items {
        match item {
            None => out.put_i32(-1),
            Some(text) => {
                out.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
                out.put_slice(text.as_bytes());
            }
        }
    }
}

/// A decimal number in groups of four digits.
fn numeric(text: &str, out: &mut BytesMut) {
    let (sign, digits) = text.strip_prefix('-').map_or((0, text), |rest| (0x4000, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let padded = format!("{}{whole}{fraction}{}", "0".repeat((4 - whole.len() % 4) % 4), "0".repeat((4 - fraction.len() % 4) % 4));
    let groups: Vec<i16> = padded.as_bytes().chunks(4).map(|c| c.iter().fold(0, |n, d| n * 10 + i16::from(d - b'0'))).collect();
    let leading = groups.iter().take_while(|g| **g == 0).count();
    let groups = &groups[leading..];
    let weight = whole.len().div_ceil(4) as i64 - 1 - leading as i64;
    out.put_i16(groups.len() as i16);
    out.put_i16(if groups.is_empty() { 0 } else { weight as i16 });
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_i16(fraction.len() as i16);
    groups.iter().for_each(|g| out.put_i16(*g));
}

/// The value of a parameter, the `n`th of those of a statement from 0.
///
/// # Errors
/// When the bytes are no value of the type.
pub fn parameter(n: usize, kind: Type, bytes: Option<&[u8]>, formats: &Formats) -> Result<ScalarValue, Problem> {
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(&read_as(kind)).map_err(|e| wrong(n, kind, &e));
    };
    let value = if formats.binary(n) { binary(kind, bytes) } else { text(kind, bytes) };
    value.ok_or_else(|| wrong(n, kind, &"its bytes are no such value"))
}

fn wrong(n: usize, kind: Type, why: &dyn std::fmt::Display) -> Problem {
    let problem = Problem::bad_request(format!("parameter ${} is no {}: {why}", n + 1, kind.name()));
    Problem { sqlstate: Some("22P02"), ..problem.hint("send it as text, or cast it in the query: $1::text") }
}

/// The Arrow type as which a parameter is read. Numerics become doubles, as the tables have no others.
fn read_as(kind: Type) -> DataType {
    if kind == Type::Numeric { DataType::Float64 } else { arrow(kind) }
}

fn text(kind: Type, bytes: &[u8]) -> Option<ScalarValue> {
    let text = std::str::from_utf8(bytes).ok()?;
    match kind {
        Type::Bool => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "n" | "no" | "off" | "0" => Some(ScalarValue::Boolean(Some(false))),
            _ => None,
        },
        Type::TextArray => list_of(&read_list(text)?),
        Type::Bytea | Type::Interval => None,
        _ => ScalarValue::try_from_string(text.to_string(), &read_as(kind)).ok(),
    }
}

fn list_of(items: &[Option<String>]) -> Option<ScalarValue> {
    let items: Vec<_> = items.iter().map(|item| ScalarValue::Utf8(item.clone())).collect();
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&items, &DataType::Utf8)))
}

/// `{a,"b c",NULL}`
fn read_list(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = vec![];
    while !rest.is_empty() {
        let (item, after) = if let Some(quoted) = rest.strip_prefix('"') { read_quoted(quoted)? } else { read_plain(rest) };
        items.push(item);
        rest = match after.strip_prefix(',') {
            Some("") => return None,
            Some(more) => more,
            None if after.is_empty() => "",
            None => return None,
        };
    }
    Some(items)
}

fn read_plain(text: &str) -> (Option<String>, &str) {
    let (item, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
    let item = item.trim();
    ((!item.eq_ignore_ascii_case("null")).then(|| item.to_string()), rest)
}

fn read_quoted(text: &str) -> Option<(Option<String>, &str)> {
    let (mut item, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((Some(item), chars.as_str())),
            '\\' => item.push(chars.next()?),
            c => item.push(c),
        }
    }
}

fn read_list_binary(mut bytes: &[u8]) -> Option<Vec<Option<String>>> {
    let dimensions = bytes.try_get_i32().ok()?;
    let (_, _) = (bytes.try_get_i32().ok()?, bytes.try_get_u32().ok()?);
    if dimensions == 0 {
        return Some(vec![]);
    }
    let (count, _) = (bytes.try_get_i32().ok()?, bytes.try_get_i32().ok()?);
    if dimensions != 1 {
        return None;
    }
    let item = |_| {
        let Ok(length) = usize::try_from(bytes.try_get_i32().ok()?) else { return Some(None) };
        let (item, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(Some(std::str::from_utf8(item).ok()?.to_string()))
    };
    (0..count).map(item).collect()
}

fn binary(kind: Type, bytes: &[u8]) -> Option<ScalarValue> {
    let long = || bytes.try_into().ok().map(i64::from_be_bytes);
    let value = match kind {
        Type::Bool => ScalarValue::Boolean(Some(*bytes.first()? != 0)),
        Type::Int2 => ScalarValue::Int16(Some(i16::from_be_bytes(bytes.try_into().ok()?))),
        Type::Int4 => ScalarValue::Int32(Some(i32::from_be_bytes(bytes.try_into().ok()?))),
        Type::Oid => ScalarValue::UInt32(Some(u32::from_be_bytes(bytes.try_into().ok()?))),
        Type::Int8 => ScalarValue::Int64(Some(long()?)),
        Type::Float4 => ScalarValue::Float32(Some(f32::from_be_bytes(bytes.try_into().ok()?))),
        Type::Float8 => ScalarValue::Float64(Some(f64::from_be_bytes(bytes.try_into().ok()?))),
        Type::Bytea => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::Date => ScalarValue::Date32(Some(i32::from_be_bytes(bytes.try_into().ok()?).checked_add(EPOCH_DAYS)?)),
        Type::Timestamp => ScalarValue::TimestampMicrosecond(Some(long()?.checked_add(EPOCH_MICROS)?), None),
        Type::TimestampTz => ScalarValue::TimestampMicrosecond(Some(long()?.checked_add(EPOCH_MICROS)?), Some("UTC".into())),
        Type::TextArray => list_of(&read_list_binary(bytes)?)?,
        Type::Numeric | Type::Interval | Type::Time => return None,
        _ => ScalarValue::Utf8(Some(std::str::from_utf8(bytes).ok()?.to_string())),
    };
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_postgresql_does() {
        for (value, text) in [(600.0, "600"), (600.5, "600.5"), (-0.001, "-0.001"), (1e20, "1e+20"), (1.5e-7, "1.5e-7"), (f64::NEG_INFINITY, "-Infinity")] {
            assert_eq!(float(value, &value), text);
        }
    }

    #[test]
    fn numerics_have_groups_of_four_digits() {
        let bytes = |text: &str| {
            let mut out = BytesMut::new();
            numeric(text, &mut out);
            out.chunks(2).map(|c| i16::from_be_bytes([c[0], c[1]])).collect::<Vec<_>>()
        };
        // Groups, weight, sign, digits after the point, then the groups.
        assert_eq!(bytes("12345.678"), [3, 1, 0, 3, 1, 2345, 6780]);
        assert_eq!(bytes("-0.0001"), [1, -1, 0x4000, 4, 1]);
        assert_eq!(bytes("0.00"), [0, 0, 0, 2]);
        assert_eq!(bytes("10000"), [2, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn lists_are_read() {
        let some = |items: &[&str]| Some(items.iter().map(|i| Some(i.to_string())).collect::<Vec<_>>());
        assert_eq!(read_list("{}"), Some(vec![]));
        assert_eq!(read_list("{a,b c}"), some(&["a", "b c"]));
        assert_eq!(read_list(r#"{"a,b","c\"d",""}"#), some(&["a,b", "c\"d", ""]));
        assert_eq!(read_list("{NULL}"), Some(vec![None]));
        for wrong in ["", "a", "{a", "{a,}", "{\"a}", "{\"a\"b}"] {
            assert_eq!(read_list(wrong), None, "{wrong}");
        }
        let two = b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x02\0\0\0\x01\0\0\0\x01a\xff\xff\xff\xff";
        assert_eq!(read_list_binary(two), Some(vec![Some("a".into()), None]));
        assert_eq!(read_list_binary(&two[..two.len() - 1]), None);
    }

    #[test]
    fn parameters_are_read_as_text_and_binary() {
        let read = |kind: Type, bytes: &[u8], formats: &[i16]| parameter(0, kind, Some(bytes), &Formats(formats.to_vec())).ok();
        assert_eq!(read(Type::Int4, b"12", &[]), Some(ScalarValue::Int32(Some(12))));
        assert_eq!(read(Type::Int4, &[0, 0, 0, 12], &[1]), Some(ScalarValue::Int32(Some(12))));
        assert_eq!(read(Type::Int4, &[0, 12], &[1]), None);
        assert_eq!(read(Type::Int4, b"twelve", &[]), None);
        assert_eq!(read(Type::Float8, b"1.5", &[0, 1]), Some(ScalarValue::Float64(Some(1.5))));
        assert_eq!(read(Type::Text, b"\xff", &[]), None);
        assert_eq!(parameter(0, Type::Numeric, None, &Formats::default()).ok(), Some(ScalarValue::Float64(None)));
    }
}
