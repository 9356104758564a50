//! `publish --json`: one object a line, as `consume --json` writes it.

use serde_json::{Map, Value};
use siding::Message;

use crate::shown::unhex;
use crate::{args, times};

/// Parses `{"body": …, "key": …, "routing_key": …, "headers": {…}, "priority": 9, "delay": "10m",
/// "deliver_at": "2026-11-21T09:00:00Z", "ttl": "1h", "dedup_id": …}`. A body that is not text stands
/// in hex under `body_hex`; a body that is another JSON value is published as its JSON text.
///
/// # Errors
/// Says what is wrong with the line.
pub(crate) fn parse(line: &[u8]) -> Result<Message, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Value::Object(object) = value else {
        return Err("a JSON object is expected".to_owned());
    };
    let mut message = Message::new(body(&object)?);
    for (field, value) in object {
        match (field.as_str(), value) {
            ("key", Value::String(text)) => message = message.key(text),
            ("routing_key", Value::String(text)) => message = message.routing_key(text),
            ("headers", Value::Object(headers)) => message = with_headers(message, headers)?,
            ("priority", Value::Number(number)) => {
                let priority = number
                    .as_u64()
                    .and_then(|number| u32::try_from(number).ok());
                message = message.priority(priority.ok_or("priority is 0 to 9")?);
            }
            ("delay", Value::String(text)) => {
                message = message.delay(in_field("delay", args::duration(&text))?);
            }
            ("deliver_at", Value::String(text)) => {
                let at = in_field("deliver_at", times::coming(&text))?;
                message = message.deliver_at_ms(at);
            }
            ("ttl", Value::String(text)) => {
                message = message.ttl(in_field("ttl", args::duration(&text))?);
            }
            ("dedup_id", Value::String(text)) => message = message.dedup_id(text),
            // The body is read already; the rest is what consume, peek and dead ls add for the
            // reader's sake.
            (
                "body" | "body_hex" | "id" | "offset" | "attempt" | "attempts" | "published_at"
                | "state" | "reason" | "until" | "dead_since" | "detail" | "address" | "grant"
                | "deadline",
                _,
            ) => {}
            (other @ ("delay" | "ttl"), _) => {
                return Err(format!("{other} is text with its unit, such as \"10m\""));
            }
            (other, _) => {
                return Err(format!(
                    "{other:?} is not one of {FIELDS}, or not of its type"
                ));
            }
        }
    }
    Ok(message)
}

const FIELDS: &str =
    "body, body_hex, key, routing_key, headers, priority, delay, deliver_at, ttl, dedup_id";

fn in_field<T>(field: &str, parsed: Result<T, String>) -> Result<T, String> {
    parsed.map_err(|why| format!("{field}: {why}"))
}

fn body(object: &Map<String, Value>) -> Result<Vec<u8>, String> {
    match (object.get("body"), object.get("body_hex")) {
        (Some(Value::String(text)), None) => Ok(text.clone().into_bytes()),
        (Some(other), None) => Ok(other.to_string().into_bytes()),
        (None, Some(Value::String(text))) => {
            unhex(text).ok_or_else(|| "body_hex is not hex".to_owned())
        }
        (None, Some(_)) => Err("body_hex is not hex".to_owned()),
        (None, None) => Err("\"body\" is missing".to_owned()),
        (Some(_), Some(_)) => Err("body and body_hex exclude each other".to_owned()),
    }
}

fn with_headers(mut message: Message, headers: Map<String, Value>) -> Result<Message, String> {
    for (name, value) in headers {
        message = match value {
            Value::String(text) => message.header(name, text),
            Value::Bool(flag) => message.header(name, flag),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => message.header(name, number),
                (None, Some(number)) => message.header(name, number),
                (None, None) => return Err(format!("header {name:?}: {number} is too large")),
            },
            Value::Object(object) => {
                let bytes = object.get("hex").and_then(Value::as_str).and_then(unhex);
                let bytes =
                    bytes.ok_or_else(|| format!("header {name:?}: bytes are {{\"hex\": …}}"))?;
                message.header(name, bytes)
            }
            Value::Null | Value::Array(_) => {
                return Err(format!(
                    "header {name:?} is neither text, number, flag nor bytes"
                ));
            }
        };
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_becomes_a_message() {
        let line =
            br#"{"id":"jobs@7","body":"hi","key":"k","headers":{"a":"b","n":-3,"f":0.5,"t":true}}"#;
        let expected = Message::new("hi")
            .key("k")
            .header("a", "b")
            .header("n", -3)
            .header("f", 0.5)
            .header("t", true);
        assert_eq!(parse(line), Ok(expected));
    }

    #[test]
    fn a_line_carries_every_field_of_a_message() {
        let line = br#"{"body":"hi","routing_key":"a.b","priority":9,"ttl":"1h","dedup_id":"x",
            "deliver_at":"2026-11-21T09:00:00Z"}"#;
        let expected = Message::new("hi")
            .routing_key("a.b")
            .priority(9)
            .ttl(Duration::from_hours(1))
            .dedup_id("x")
            .deliver_at_ms(1_795_251_600_000);
        assert_eq!(parse(line), Ok(expected));
        let delayed = Message::new("hi").delay(Duration::from_mins(10));
        assert_eq!(parse(br#"{"body":"hi","delay":"10m"}"#), Ok(delayed));
    }

    #[test]
    fn any_bytes_and_any_json_can_be_a_body() {
        assert_eq!(
            parse(br#"{"body_hex":"ff00"}"#),
            Ok(Message::new(vec![0xff, 0]))
        );
        assert_eq!(
            parse(br#"{"body":{"a":1}}"#),
            Ok(Message::new(r#"{"a":1}"#))
        );
    }

    #[test]
    fn a_line_that_is_no_message_says_why() {
        for (line, why) in [
            ("", "EOF"),
            ("[1]", "object"),
            ("{}", "missing"),
            (r#"{"body":"x","kay":"y"}"#, "kay"),
            (r#"{"body":"x","key":3}"#, "key"),
            (r#"{"body_hex":"xyz"}"#, "hex"),
            (r#"{"body":"x","headers":{"a":null}}"#, "neither"),
            (r#"{"body":"x","delay":60}"#, "its unit"),
            (r#"{"body":"x","priority":-1}"#, "0 to 9"),
            (
                r#"{"body":"x","deliver_at":"soon"}"#,
                "deliver_at: a time is",
            ),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
