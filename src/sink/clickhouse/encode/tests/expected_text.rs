//! A value's text, by the plainest means.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

/// The fewest digits that read back the same; of two such texts that are equally near, the one that ends even.
fn shortest(size: f64) -> String {
    (0..17).map(|digits| format!("{size:.digits$e}")).find(|text| text.parse() == Ok(size)).unwrap()
}

pub(super) fn double_text(double: f64) -> String {
    if double == 0.0 {
        return if double.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = shortest(double.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap();
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap();
    let sign = if double < 0.0 { "-" } else { "" };
    let body = if (-6..21).contains(&exponent) {
        let point = exponent + 1;
        if point <= 0 {
            format!("0.{}{digits}", "0".repeat(-point as usize))
        } else if point as usize >= digits.len() {
            format!("{digits}{}", "0".repeat(point as usize - digits.len()))
        } else {
            format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
        }
    } else {
        format!("{mantissa}e{exponent:+}")
    };
    format!("{sign}{body}")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut text: String = bits
        .as_bytes()
        .chunks(6)
        .map(|six| {
            let six = format!("{:0<6}", String::from_utf8(six.to_vec()).unwrap());
            DIGITS[usize::from_str_radix(&six, 2).unwrap()] as char
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn quoted(text: &str) -> String {
    let mut quoted = serde_json::to_string(text).unwrap();
    for char in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        quoted = quoted.replace(char, &format!("\\u{:04x}", u32::from(char)));
    }
    quoted
}

/// `None` where JSON has no form for it.
fn json(value: &Option<Value>) -> Option<String> {
    Some(match value {
        None | Some(Value::StringValueStrindex(_)) => "null".to_owned(),
        Some(Value::StringValue(text)) => quoted(text),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(int)) => int.to_string(),
        Some(Value::DoubleValue(double)) => double.is_finite().then(|| double_text(*double))?,
        Some(Value::BytesValue(bytes)) if bytes.is_empty() => "null".to_owned(),
        Some(Value::BytesValue(bytes)) => format!("\"{}\"", base64(bytes)),
        Some(Value::ArrayValue(list)) => {
            let elements: Option<Vec<String>> = list.values.iter().map(|any| json(&any.value)).collect();
            format!("[{}]", elements?.join(","))
        }
        Some(Value::KvlistValue(list)) => {
            let mut map = BTreeMap::new();
            for entry in &list.values {
                map.insert(&entry.key, entry.value.as_ref().and_then(|any| any.value.clone()));
            }
            let entries: Option<Vec<String>> =
                map.iter().map(|(key, value)| Some(format!("{}:{}", quoted(key), json(value)?))).collect();
            format!("{{{}}}", entries?.join(","))
        }
    })
}

pub(super) fn text(any: Option<&AnyValue>) -> String {
    let value = any.and_then(|any| any.value.clone());
    match &value {
        None | Some(Value::StringValueStrindex(_)) => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::DoubleValue(double)) if double.is_nan() => "json: unsupported value: NaN".to_owned(),
        Some(Value::DoubleValue(double)) if double.is_infinite() => {
            format!("json: unsupported value: {}Inf", if *double > 0.0 { '+' } else { '-' })
        }
        Some(Value::BytesValue(bytes)) => base64(bytes),
        _ => json(&value).unwrap_or_default(),
    }
}
