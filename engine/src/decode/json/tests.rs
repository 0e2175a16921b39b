//! The decoder against `serde_json`, over records that are valid, odd, or broken.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::decode::{TextColumnSpec, Topics};

fn projection() -> Projection {
    let dictionary = |texts: &[&str]| Some(Arc::new(texts.iter().enumerate().map(|(i, t)| (t.as_bytes().into(), i as u32 + 2)).collect()));
    let texts = vec![
        TextColumnSpec { field: TextField::EventType, dictionary: dictionary(&["view", "purchase"]), text: true },
        TextColumnSpec { field: TextField::Metadata("k".into()), dictionary: None, text: true },
        TextColumnSpec { field: TextField::SessionId, dictionary: dictionary(&["s"]), text: false },
    ];
    Projection { value: true, texts, metadata: true }
}

fn decode(record: &[u8]) -> Result<EventBatch, Reason> {
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(projection()).decode(record, &[(0, record.len() as u32)], Topics::None, &mut out, &mut rejected);
    match rejected.first() {
        Some(r) => Err(r.reason),
        None => Ok(out),
    }
}

/// What a record is by its parsed value; only for records without repeated keys.
fn expected(record: &[u8]) -> Result<(String, String, i64, Option<f64>), Reason> {
    std::str::from_utf8(record).map_err(|_| Reason::NotUtf8)?;
    let value: Value = serde_json::from_slice(record).map_err(|_| Reason::NotJson)?;
    let object = value.as_object().ok_or(Reason::NotObject)?;
    let text = |key: &str, missing, wrong| match object.get(key) {
        None | Some(Value::Null) => Err(missing),
        Some(Value::String(s)) => Ok(s.clone()),
        Some(_) => Err(wrong),
    };
    let user = text("userId", Reason::MissingUserId, Reason::InvalidUserId)?;
    if user.is_empty() {
        return Err(Reason::EmptyUserId);
    }
    if user.len() > MAX_USER_ID_BYTES {
        return Err(Reason::UserIdTooLong);
    }
    let event_type = text("eventType", Reason::MissingEventType, Reason::InvalidEventType)?;
    if event_type.is_empty() {
        return Err(Reason::EmptyEventType);
    }
    let time = match object.get("timestamp") {
        None | Some(Value::Null) => return Err(Reason::MissingTimestamp),
        Some(v) => v.as_i64().filter(|t| t.abs() <= MAX_TIMESTAMP_MS).ok_or(Reason::InvalidTimestamp)?,
    };
    let number = match object.get("value") {
        None | Some(Value::Null) => None,
        Some(Value::Number(n)) => Some(n.as_f64().ok_or(Reason::InvalidValue)?),
        Some(_) => return Err(Reason::InvalidValue),
    };
    match object.get("sessionId") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return Err(Reason::InvalidSessionId),
    }
    match object.get("metadata") {
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(_) => return Err(Reason::InvalidMetadata),
    }
    Ok((user, event_type, time, number))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("view".to_string()), "[a-z]{0,12}", "\\PC{0,10}", Just("q\"\\\n\u{1F600}\u{7}".to_string()), Just("x".repeat(300))]
}

fn json_value() -> impl Strategy<Value = String> {
    let string = text().prop_map(|s| serde_json::to_string(&s).unwrap_or_default());
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<i32>().prop_map(|n| format!("{}.{}", n, n.unsigned_abs() % 1000)),
        (-1e6f64..1e6).prop_map(|x| format!("{x:?}")),
        Just("1e3".to_string()),
        Just("-0.0".to_string()),
        Just("123456789012345678901234567890".to_string()),
        Just("0.1234567890123456789012345".to_string()),
    ];
    let odd = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[1,{\"a\":[null]}]",
        "{\"k\":\"v\",\"n\":12.50}",
        "01",
        "1.",
        ".5",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "NaN",
        "-",
        "[1,]",
        "{\"a\":1,}",
        "\"a\tb\"",
    ]);
    prop_oneof![4 => string, 4 => number, 2 => odd.prop_map(String::from)]
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec!["userId", "eventType", "timestamp", "value", "sessionId", "metadata", "other", "user\\u0049d"]);
    let members = prop::collection::vec((key, json_value(), prop::sample::select(vec!["", " ", "\t", "\r"])), 0..8);
    let base = members
        .prop_map(|members| {
            let mut seen = std::collections::HashSet::new();
            let mut text = String::from("{\"userId\":\"u\",\"eventType\":\"view\",\"timestamp\":5");
            seen.extend(["userId", "eventType", "timestamp", "user\\u0049d"]);
            for (key, value, space) in members {
                if seen.insert(key) {
                    text.push_str(&format!("{space},{space}\"{key}\"{space}:{space}{value}"));
                }
            }
            text.push('}');
            text.into_bytes()
        })
        .boxed();
    let replaced = (prop::sample::select(vec!["userId", "eventType", "timestamp"]), json_value()).prop_map(|(key, value)| {
        let member = |k: &str, v: &str| format!("\"{k}\":{}", if k == key { value.as_str() } else { v });
        format!("{{{},{},{}}}", member("userId", "\"u\""), member("eventType", "\"e\""), member("timestamp", "1")).into_bytes()
    });
    let broken = (base.clone(), any::<prop::sample::Index>(), any::<u8>(), 0u8..3).prop_map(|(mut bytes, at, byte, how)| {
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
        bytes
    });
    prop_oneof![base, replaced, broken]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn agrees_with_serde_json(record in record()) {
        // A broken record may repeat a key, of which serde_json keeps the last too.
        let got = decode(&record);
        // Valid JSON with a number beyond f64 is an error for serde_json only.
        let parsed = serde_json::from_slice::<Value>(&record);
        prop_assume!(!parsed.is_err_and(|e| e.to_string().contains("out of range")));
        match expected(&record) {
            Ok((user, event_type, time, value)) => {
                let batch = got.map_err(|r| TestCaseError::fail(format!("{r:?}: {}", String::from_utf8_lossy(&record))))?;
                prop_assert_eq!(batch.users.get(0), user.as_bytes());
                prop_assert_eq!(batch.texts[0].text.get(0), event_type.as_bytes());
                prop_assert_eq!(batch.times[0], time);
                prop_assert_eq!(batch.values_valid[0], value.is_some());
                let exact = value.map_or(0.0, |v| v + 0.0);
                prop_assert!((batch.values[0] - exact).abs() <= exact.abs() * 1e-15, "{} {}", batch.values[0], exact);
            }
            Err(reason) => prop_assert_eq!(got.err(), Some(reason), "{}", String::from_utf8_lossy(&record)),
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}

/// A decoder that has not seen any record, so that there is nothing to foretell from.
fn alone(projection: &Projection, record: &[u8]) -> Result<EventBatch, Reason> {
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(projection.clone()).decode(record, &[(0, record.len() as u32)], Topics::None, &mut out, &mut rejected);
    rejected.first().map_or(Ok(out), |r| Err(r.reason))
}

/// Records of one layout, but for some values and bytes.
fn alike() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let key = prop::sample::select(vec!["userId", "eventType", "timestamp", "value", "sessionId", "metadata", "other", "k", "n"]);
    let inner = (prop::sample::select(vec!["k", "n", "other", "value"]), any::<bool>());
    let layout = (prop::collection::vec((key, prop::sample::select(vec!["", " "])), 0..7), prop::collection::vec(inner, 0..4), any::<bool>());
    layout.prop_flat_map(|(members, inner, front)| {
        let count = members.len() + inner.len() + 3;
        let values = prop::collection::vec(prop_oneof![5 => "[a-z]{1,20}".prop_map(|s| format!("\"{s}\"")), 5 => plain_number(), 2 => json_value()], count);
        let record = (values, 0u8..12, any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(values, how, at, byte)| {
            let mut values = values.into_iter();
            let mut next = || values.next().unwrap_or_default();
            let base = format!("\"userId\":{},\"eventType\":{},\"timestamp\":{}", quoted(&next()), quoted(&next()), 1_700_000_000_000u64 + u64::from(byte));
            let mut text = String::new();
            for (key, space) in &members {
                let entries: Vec<_> = inner.iter().map(|(k, text)| format!("\"{k}\":{}", if *text { quoted(&next()) } else { next() })).collect();
                let value = if *key == "metadata" { format!("{{{}}}", entries.join(",")) } else { next() };
                text.push_str(&format!(",{space}\"{key}\":{space}{value}"));
            }
            let text = if front {
                format!("{{{base}{text}}}")
            } else {
                format!("{{{}{}{base}}}", text.trim_start_matches(','), if text.is_empty() { "" } else { "," })
            };
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, byte),
                _ => {}
            }
            bytes
        });
        prop::collection::vec(record, 1..12)
    })
}

fn plain_number() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u64..100_000_000_000_000_000).prop_map(|n| n.to_string()),
        (-1_000i64..1_000, 0u32..1_000_000_000).prop_map(|(n, f)| format!("{n}.{f}")),
        (0u32..200).prop_map(|n| n.to_string()),
    ]
}

fn quoted(value: &str) -> String {
    if value.starts_with('"') { value.to_string() } else { format!("\"{}\"", value.replace(['"', '\\', '\t'], "")) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn what_is_foretold_is_what_is_read(records in prop_oneof![alike(), prop::collection::vec(record(), 1..12)], lines in any::<bool>(), projected in 0usize..3) {
        let mut projection = Projection { metadata: false, ..self::projection() };
        projection.texts.truncate(projected + 1);
        let (mut data, mut spans) = (vec![], vec![]);
        // Twice, so that most were seen before.
        for record in records.iter().chain(&records) {
            let start = data.len() as u32;
            data.extend_from_slice(record);
            spans.push((start, data.len() as u32));
            data.extend_from_slice(if lines { b"\n" } else { b"" });
        }
        let (mut out, mut rejected) = (EventBatch::default(), vec![]);
        JsonDecoder::new(projection.clone()).decode(&data, &spans, Topics::None, &mut out, &mut rejected);
        let mut row = 0;
        for (i, record) in records.iter().chain(&records).enumerate() {
            let text = String::from_utf8_lossy(record);
            match alone(&projection, record) {
                Ok(mut batch) => {
                    batch.records = vec![i as u32];
                    prop_assert_eq!(&out.select(&[row]), &batch.select(&[0]), "{}", text);
                    row += 1;
                }
                Err(reason) => prop_assert_eq!(rejected.iter().find(|r| r.record == i as u32).map(|r| r.reason), Some(reason), "{}", text),
            }
        }
        prop_assert_eq!(row as usize, out.len());
    }
}

/// Many records of one layout, some of them with bytes that are no UTF-8.
#[test]
fn records_that_are_no_utf8_are_told_by_their_place() {
    let (mut data, mut spans, mut bad) = (vec![], vec![], vec![]);
    for i in 0..500u32 {
        let start = data.len() as u32;
        let user = if i % 97 == 70 { &b"\xff\xfe"[..] } else { "\u{fc}ser".as_bytes() };
        bad.extend((i % 97 == 70).then_some(i));
        data.extend_from_slice(&[b"{\"userId\":\"", user, b"\",\"eventType\":\"view\",\"timestamp\":", i.to_string().as_bytes(), b"}"].concat());
        spans.push((start, data.len() as u32));
    }
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(Projection { metadata: false, ..projection() }).decode(&data, &spans, Topics::None, &mut out, &mut rejected);
    assert_eq!(rejected.iter().map(|r| (r.record, r.reason)).collect::<Vec<_>>(), bad.iter().map(|i| (*i, Reason::NotUtf8)).collect::<Vec<_>>());
    assert_eq!(out.records, (0..500).filter(|i| !bad.contains(i)).collect::<Vec<u32>>());
    assert!(out.records.iter().zip(&out.times).all(|(record, time)| i64::from(*record) == *time));
}

/// Topics are of the record, not of its text, and texts of all lengths are found in a dictionary of whatever size.
#[test]
fn what_is_foretold_has_its_topic_and_its_dictionary_ids() {
    for count in [1, 5, 8, 9, 40] {
        let text = |i: usize| "abcdefghijklmnopqrst"[..i % 20].to_string() + &"x".repeat(i / 20);
        let ids: rustc_hash::FxHashMap<Box<[u8]>, u32> = (0..count).map(|i| (text(i * 4 % 37).into_bytes().into(), i as u32 + 2)).collect();
        let column = |field: TextField, dictionary| TextColumnSpec { field, dictionary, text: true };
        let texts = vec![column(TextField::Topic, None), column(TextField::Metadata("k".into()), Some(std::sync::Arc::new(ids.clone())))];
        let mut decoder = JsonDecoder::new(Projection { texts, ..Projection::default() });
        let (mut data, mut spans) = (vec![], vec![]);
        for i in 0..200 {
            let start = data.len() as u32;
            data.extend_from_slice(
                format!("{{\"userId\":\"u{i}\",\"eventType\":\"view\",\"timestamp\":{i},\"metadata\":{{\"k\":\"{}\"}}}}", text(i % 41)).as_bytes(),
            );
            spans.push((start, data.len() as u32));
        }
        let topics: Vec<std::sync::Arc<str>> = vec!["first".into(), "second".into()];
        let of: Vec<u16> = (0..200).map(|i| i % 3 % 2).collect();
        let (mut out, mut rejected) = (EventBatch::default(), vec![]);
        decoder.decode(&data, &spans, Topics::Each(&of, &topics), &mut out, &mut rejected);
        assert_eq!((out.len(), rejected.len()), (200, 0));
        for i in 0..200 {
            assert_eq!(out.texts[0].text.get(i), topics[usize::from(of[i])].as_bytes());
            assert_eq!(out.texts[1].text.get(i), text(i % 41).as_bytes());
            assert_eq!(out.texts[1].ids[i], ids.get(text(i % 41).as_bytes()).copied().unwrap_or(crate::decode::TEXT_OTHER), "{}", text(i % 41));
            assert_eq!(out.users.get(i), format!("u{i}").as_bytes());
        }
    }
}

#[test]
fn layouts_are_forgotten_before_they_are_too_many() {
    let mut data = vec![];
    for round in 0..3 {
        for i in 0..1_500 {
            data.extend_from_slice(format!("{{\"userId\":\"u{i}\",\"eventType\":\"view\",\"timestamp\":{round},\"key{i}\":1,\"value\":{i}}}\n").as_bytes());
        }
    }
    let mut spans = vec![];
    split_lines(&data, &mut spans);
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(Projection { metadata: false, ..projection() }).decode(&data, &spans, Topics::None, &mut out, &mut rejected);
    assert_eq!((out.len(), rejected.len()), (4_500, 0));
    assert!((0..4_500).all(|i| out.values[i] == (i % 1_500) as f64 && out.users.get(i) == format!("u{}", i % 1_500).as_bytes()));
}

#[test]
fn metadata_keeps_the_text_of_scalars() {
    let batch =
        decode(br#"{"userId":"u","eventType":"view","timestamp":1,"metadata":{"k":12.50,"a":true,"n":null,"a":[1, 2],"t":"\u0041"}}"#).unwrap_or_default();
    let map = batch.metadata.unwrap_or_default();
    let entries: Vec<_> = (0..map.keys.len()).map(|i| (map.keys.get(i), map.values.get(i), map.values_valid[i])).collect();
    assert_eq!(entries, [(&b"k"[..], &b"12.50"[..], true), (b"n", b"", false), (b"a", b"[1, 2]", true), (b"t", b"A", true)]);
    assert_eq!(batch.texts[1].text.get(0), b"12.50");
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let batch = decode(br#"{"userId":"a","eventType":"x","timestamp":1,"userId":"b","value":3,"value":null}"#).unwrap_or_default();
    assert_eq!(batch.users.get(0), b"b");
    assert_eq!(batch.values_valid, [false]);
}

#[test]
fn depth_is_limited() {
    let nested = |n: usize| format!("{{\"userId\":\"u\",\"eventType\":\"e\",\"timestamp\":1,\"x\":{}{}}}", "[".repeat(n), "]".repeat(n)).into_bytes();
    assert!(decode(&nested(127)).is_ok());
    assert_eq!(decode(&nested(128)).err(), Some(Reason::TooDeep));
    assert_eq!(decode(&"[".repeat(1_000_000).into_bytes()).err(), Some(Reason::TooDeep));
}

#[test]
fn numbers_are_read_to_the_last_bit() {
    for text in ["0.1", "240.02", "1e22", "1e23", "9007199254740993", "1.7976931348623157e308", "5e-324", "123456789.123456789e-5"] {
        let record = format!("{{\"userId\":\"u\",\"eventType\":\"e\",\"timestamp\":1,\"value\":{text}}}");
        let batch = decode(record.as_bytes()).unwrap_or_default();
        assert_eq!(Some(batch.values[0]), text.parse().ok(), "{text}");
    }
    assert_eq!(decode(br#"{"userId":"u","eventType":"e","timestamp":1,"value":1e400}"#).err(), Some(Reason::InvalidValue));
}

#[test]
fn a_record_is_utf8_or_not_by_itself() {
    let data = b"{\"a\":1}\xd4\x8a{\"a\":1}";
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(projection()).decode(data, &[(0, 7), (7, 8), (8, 9), (9, 16)], Topics::None, &mut out, &mut rejected);
    let reasons: Vec<_> = rejected.iter().map(|r| r.reason).collect();
    assert_eq!(reasons, [Reason::MissingUserId, Reason::NotUtf8, Reason::NotUtf8, Reason::MissingUserId]);
}

#[test]
fn lines() {
    let mut spans = vec![];
    split_lines(b"{a}\n\n  \r\n{b}\r\nx", &mut spans);
    assert_eq!(spans, [(0, 3), (9, 13), (14, 15)]);
    split_lines(b"", &mut spans);
    assert!(spans.is_empty());
}
