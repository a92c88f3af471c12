//! Activities of the catalogue.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskhub::{Activity, ActivityContext, Failure, WorkerBuilder};

pub(super) const HELLO: Activity<String, String> = Activity::new("Hello");
pub(super) const SQUARE: Activity<i32, i32> = Activity::new("Square");
pub(super) const ECHO: Activity<String, String> = Activity::new("Echo");
/// Input: characters, and 1 for random ones.
pub(super) const GEN_STRING: Activity<[i32; 2], String> = Activity::new("GenString");
pub(super) const ALWAYS_FAILS: Activity<String, String> = Activity::new("AlwaysFails");
pub(super) const FLAKY_TWICE: Activity<String, String> = Activity::new("FlakyTwice");
pub(super) const FLAKY_ONCE: Activity<String, String> = Activity::new("FlakyOnce");
/// Input: milliseconds.
pub(super) const SLOW: Activity<i32, i32> = Activity::new("Slow");
pub(super) const POCO: Activity<Poco, Poco> = Activity::new("Poco");
pub(super) const NOTHING: Activity<Value, Value> = Activity::new("Nothing");
/// Nobody registers it.
pub(super) const NO_SUCH_ACTIVITY: Activity<String, String> = Activity::new("NoSuchActivity");

/// A class of .NET: its type goes first in the JSON, where a .NET reader expects it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Poco {
    #[serde(rename = "$type", skip_deserializing, default = "poco_type")]
    clr_type: &'static str,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    number: i32,
    /// A .NET `DateTime`, kept as text.
    #[serde(default = "datetime_min")]
    when: String,
    #[serde(default)]
    items: Option<Vec<String>>,
    #[serde(default)]
    nested: Option<Box<Self>>,
}

fn poco_type() -> &'static str {
    "Peer.Poco, Peer"
}

fn datetime_min() -> String {
    "0001-01-01T00:00:00".to_owned()
}

pub(super) fn register(builder: WorkerBuilder) -> WorkerBuilder {
    builder
        .activity(HELLO, hello)
        .activity(SQUARE, square)
        .activity(ECHO, echo)
        .activity(GEN_STRING, gen_string)
        .activity(ALWAYS_FAILS, always_fails)
        .activity(FLAKY_TWICE, {
            let tries = Tries::default();
            move |ctx: ActivityContext, input| std::future::ready(flaky_twice(&tries, &ctx, &input))
        })
        .activity(FLAKY_ONCE, {
            let tries = Tries::default();
            move |_, key| std::future::ready(flaky_once(&tries, key))
        })
        .activity(SLOW, slow)
        .activity(POCO, poco)
        .activity(NOTHING, nothing)
}

async fn hello(_: ActivityContext, name: String) -> Result<String, Failure> {
    Ok(format!("Hello, {name}!"))
}

async fn square(_: ActivityContext, number: i32) -> Result<i32, Failure> {
    Ok(number.wrapping_mul(number))
}

async fn echo(_: ActivityContext, text: String) -> Result<String, Failure> {
    Ok(text)
}

async fn gen_string(_: ActivityContext, [characters, random]: [i32; 2]) -> Result<String, Failure> {
    Ok(text(usize::try_from(characters)?, random != 0))
}

/// The same characters every time; those that are called random are hard to compress.
fn text(characters: usize, random: bool) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    if !random {
        return "x".repeat(characters);
    }
    let mut state: u32 = 2_463_534_242;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(ALPHABET[state as usize % ALPHABET.len()])
    };
    std::iter::repeat_with(next).take(characters).collect()
}

async fn always_fails(_: ActivityContext, input: String) -> Result<String, Failure> {
    Err(invalid_operation(format!("activity failed: {input}"), "because of \u{fc}"))
}

/// A failure as .NET tells of an `InvalidOperationException` with an `ArgumentException` in it.
pub(super) fn invalid_operation(message: impl Into<String>, cause: &str) -> Failure {
    Failure::new("System.InvalidOperationException", message).caused_by(Failure::new("System.ArgumentException", cause))
}

/// How often this worker has tried, by what.
type Tries = Mutex<BTreeMap<String, u32>>;

fn count(tries: &Tries, key: String) -> u32 {
    let mut tries = tries.lock().unwrap_or_else(PoisonError::into_inner);
    let count = tries.entry(key).or_default();
    *count += 1;
    *count
}

fn flaky_twice(tries: &Tries, ctx: &ActivityContext, input: &str) -> Result<String, Failure> {
    let tries = count(tries, format!("{}/{input}", ctx.instance_id()));
    if tries <= 2 {
        return Err(Failure::new("System.InvalidOperationException", format!("flaky failure {tries}")));
    }
    Ok(format!("ok on try {tries}"))
}

fn flaky_once(tries: &Tries, key: String) -> Result<String, Failure> {
    if count(tries, key) == 1 {
        return Err(Failure::new("System.InvalidOperationException", "first try fails"));
    }
    Ok("ok".to_owned())
}

async fn slow(_: ActivityContext, milliseconds: i32) -> Result<i32, Failure> {
    tokio::time::sleep(Duration::from_millis(u64::try_from(milliseconds)?)).await;
    Ok(milliseconds)
}

async fn poco(_: ActivityContext, input: Poco) -> Result<Poco, Failure> {
    Ok(Poco {
        clr_type: poco_type(),
        name: Some(format!("echo of {}", input.name.as_deref().unwrap_or_default())),
        number: input.number.wrapping_add(1),
        when: input.when.clone(),
        items: input.items.clone(),
        nested: Some(Box::new(input)),
    })
}

async fn nothing(_: ActivityContext, _: Value) -> Result<Value, Failure> {
    Ok(Value::Null)
}
