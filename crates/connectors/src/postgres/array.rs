//! Values on their way to the server as parameters: arrays for many rows at once, text for any type.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::row::Value;

type Sent = Result<IsNull, Box<dyn Error + Sync + Send>>;

/// A column of a batch, as `text[]` or `bytea[]` in their binary form.
#[derive(Debug)]
pub(super) struct Array<'a>(pub(super) Vec<Value<'a>>);

impl ToSql for Array<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Sent {
        let Kind::Array(element) = kind.kind() else {
            return Err("not an array".into());
        };
        out.put_i32(1); // dimensions
        out.put_i32(1); // there may be nulls
        out.put_u32(element.oid());
        out.put_i32(i32::try_from(self.0.len())?);
        out.put_i32(1); // the first index
        for value in &self.0 {
            match value {
                Value::Null => out.put_i32(-1),
                Value::Text(bytes) => put(bytes, out)?,
                Value::Bytes(bytes) => put(bytes, out)?,
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(kind.kind(), Kind::Array(element) if matches!(*element, Type::TEXT | Type::BYTEA))
    }

    to_sql_checked!();
}

fn put(bytes: &[u8], out: &mut BytesMut) -> Result<(), Box<dyn Error + Sync + Send>> {
    out.put_i32(i32::try_from(bytes.len())?);
    out.put_slice(bytes);
    Ok(())
}

/// One value for a parameter of any type: as text, which the server reads as it would a literal; bytes
/// for `bytea` as they are.
#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) Value<'a>);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Sent {
        match &self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Text(bytes) => out.put_slice(bytes),
            Value::Bytes(bytes) if *kind == Type::BYTEA => out.put_slice(bytes),
            Value::Bytes(bytes) => put_hex(bytes, out),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, kind: &Type) -> Format {
        if *kind == Type::BYTEA {
            Format::Binary
        } else {
            Format::Text
        }
    }

    to_sql_checked!();
}

/// As `bytea` is written in text, for a parameter that is not `bytea`.
fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(HEX[usize::from(byte >> 4)]);
        out.put_u8(HEX[usize::from(byte & 15)]);
    }
}
