//! Random calls, the same on two accounts: their answers must agree.

use std::time::Duration;

use bytes::Bytes;

use super::tables::all;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::storage::blob::{Lease, PutCondition};
use crate::storage::error::{Error, Result};
use crate::storage::queue::QueueMessage;
use crate::storage::table::{Cmp, Entity, Etag, Filter, Match, Query, Row, TableOp, Value};

const HIDDEN: Duration = Duration::from_secs(3600);
const LEASE_IDS: [&str; 2] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];

/// Makes `steps` random calls on both accounts and compares kinds of failures, values, and which versions are equal to
/// which; neither texts of versions nor times. Panics at the first difference and names seed and step.
pub async fn run_differential(a: &Storage, b: &Storage, prefix: &str, seed: u64, steps: usize) {
    let names = Names { table: format!("{prefix}Diff{seed}"), other: format!("{prefix}-diff-{seed}") };
    for storage in [a, b] {
        storage.tables.create_table(&names.table).await.unwrap();
        storage.queues.create_queue(&names.other).await.unwrap();
        storage.blobs.create_container(&names.other).await.unwrap();
    }
    let rng = Rng::seeded(seed);
    let mut known = Known::default();
    for number in 0..steps {
        let step = draw(&rng, &known);
        let answers = [play(&step, a, 0, &names, &known).await, play(&step, b, 1, &names, &known).await];
        assert_eq!(answers[0].shape, answers[1].shape, "seed {seed}, step {number}: {step:?}");
        known.learn(answers);
    }
    for storage in [a, b] {
        for id in LEASE_IDS {
            let _ = storage.blobs.lease(&names.other, &Lease::Release { id: id.into() }).await;
        }
        storage.tables.delete_table(&names.table).await.unwrap();
        storage.queues.delete_queue(&names.other).await.unwrap();
        storage.blobs.delete_container(&names.other).await.unwrap();
    }
}

struct Names {
    table: String,
    /// Of the queue and of the container.
    other: String,
}

/// What the accounts have given so far, side by side: calls use it by its place.
#[derive(Default)]
struct Known {
    /// With the row: only versions of one row can be told apart, one transaction may give the same to several.
    rows: Vec<(RowId, [Etag; 2])>,
    blobs: Vec<[Etag; 2]>,
    /// Id and pop receipt; old receipts stay, to be refused.
    receipts: Vec<[(String, String); 2]>,
    put: usize,
}

type RowId = (String, String);

#[derive(Debug)]
enum Step {
    Write(RowWrite),
    Transact(Vec<RowWrite>),
    Get(String, String),
    Query(Query),
    Put { text: String, delay: Duration },
    Receive,
    Update { receipt: usize, visibility: Duration, text: Option<String> },
    Delete { receipt: usize },
    Peek,
    Count,
    PutBlob { name: String, text: String, absent: bool, version: Option<usize> },
    GetBlob(String),
    DeleteBlob(String),
    List(&'static str),
    Lease(Lease),
}

#[derive(Debug)]
struct RowWrite {
    kind: u64,
    entity: Entity,
    version: Option<usize>,
}

/// An answer with what differs between accounts taken out of its shape.
#[derive(Debug, Default)]
struct Answer {
    shape: String,
    rows: Vec<(RowId, Etag)>,
    blob: Option<Etag>,
    receipts: Vec<(String, String)>,
    put: bool,
}

impl Known {
    fn learn(&mut self, [a, b]: [Answer; 2]) {
        self.put += usize::from(a.put);
        self.rows.extend(a.rows.into_iter().zip(b.rows).map(|((id, a), (_, b))| (id, [a, b])));
        self.blobs.extend(a.blob.into_iter().zip(b.blob).map(|(a, b)| [a, b]));
        self.receipts.extend(a.receipts.into_iter().zip(b.receipts).map(|(a, b)| [a, b]));
    }

    fn row_class(&self, side: usize, id: &RowId, etag: &Etag) -> Option<usize> {
        self.rows.iter().position(|(of, pair)| of == id && pair[side] == *etag)
    }
}

impl RowWrite {
    fn draw(rng: &Rng, known: &Known, partition_key: &str, row: u64) -> Self {
        let mut entity = Entity::new(partition_key, row_key(row));
        let texts = ["", "a", "it's", "B", "\u{e9}\u{1f600}"];
        match rng.below(4) {
            0 => {}
            1 => drop(entity.set("s", Value::Null)),
            _ => drop(entity.set("s", Value::string(texts[pick(rng, texts.len())]))),
        }
        if rng.chance(0.6) {
            entity.set("n", Value::I32(i32::try_from(rng.below(5)).unwrap() - 2));
        }
        if rng.chance(0.3) {
            entity.set("b", Value::Bool(rng.chance(0.5)));
        }
        let id = id(&entity);
        let mut newest_first = (0..known.rows.len()).rev().filter(|i| known.rows[*i].0 == id);
        let version = newest_first.nth(pick(rng, 2)).filter(|_| rng.chance(0.5));
        Self { kind: rng.below(6), entity, version }
    }

    fn op(&self, known: &Known, side: usize) -> TableOp {
        let entity = self.entity.clone();
        let condition = self.version.map_or(Match::Any, |version| Match::Etag(known.rows[version].1[side].clone()));
        match self.kind {
            0 => TableOp::Insert(entity),
            1 => TableOp::Merge(entity, condition),
            2 => TableOp::Replace(entity, condition),
            3 => TableOp::UpsertMerge(entity),
            4 => TableOp::UpsertReplace(entity),
            _ => TableOp::Delete { partition_key: entity.partition_key, row_key: entity.row_key, condition },
        }
    }
}

fn draw(rng: &Rng, known: &Known) -> Step {
    let partition_key = || ["p", "it's", "@x@y"][pick(rng, 3)].to_owned();
    let name = || ["a/1", "a/2", "b", "c d"][pick(rng, 4)].to_owned();
    let receipt = || known.receipts.len().saturating_sub(1 + pick(rng, 8));
    let visibility = || if rng.chance(0.5) { Duration::ZERO } else { HIDDEN };
    match rng.below(20) {
        0..4 => Step::Write(RowWrite::draw(rng, known, &partition_key(), rng.below(4))),
        4 | 5 => {
            let partition_key = partition_key();
            let rows =
                (0..4).filter(|_| rng.chance(0.6)).map(|row| RowWrite::draw(rng, known, &partition_key, row)).collect::<Vec<_>>();
            if rows.is_empty() { Step::Count } else { Step::Transact(rows) }
        }
        6 => Step::Get(partition_key(), row_key(rng.below(4))),
        7 | 8 => {
            let filter = rng.chance(0.8).then(|| filter(rng, 2));
            let select = if rng.chance(0.3) { vec!["n".to_owned(), "s".to_owned()] } else { Vec::new() };
            Step::Query(Query { filter, select, top: rng.chance(0.4).then(|| 1 + pick(rng, 4)), continuation: None })
        }
        // A receive takes all that is visible, so that two orders of equally old messages do not matter.
        9 if known.put < 30 => Step::Put { text: format!("<message> {}", known.put), delay: visibility() },
        9 | 10 => Step::Receive,
        11 | 12 if !known.receipts.is_empty() => {
            let text = rng.chance(0.5).then(|| format!("changed {}", receipt()));
            Step::Update { receipt: receipt(), visibility: visibility(), text }
        }
        13 if !known.receipts.is_empty() => Step::Delete { receipt: receipt() },
        11..14 => Step::Peek,
        14 | 15 => {
            let version = known.blobs.len().checked_sub(1 + pick(rng, 3)).filter(|_| rng.chance(0.4));
            Step::PutBlob { name: name(), text: known.blobs.len().to_string(), absent: rng.chance(0.3), version }
        }
        16 => Step::GetBlob(name()),
        17 if rng.chance(0.5) => Step::DeleteBlob(name()),
        17 => Step::List(["", "a/", "z"][pick(rng, 3)]),
        18 => Step::Lease(lease(rng)),
        _ => Step::Count,
    }
}

/// No `ne`: Azurite differs there, and no one asks.
fn filter(rng: &Rng, depth: u32) -> Filter {
    let cmp = [Cmp::Eq, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge][pick(rng, 5)];
    match rng.below(if depth == 0 { 5 } else { 8 }) {
        0 => Filter::compare("PartitionKey", cmp, Value::string(["p", "it's", "@"][pick(rng, 3)])),
        1 => Filter::compare("RowKey", cmp, Value::string(row_key(rng.below(5)))),
        2 => Filter::compare("s", cmp, Value::string(["", "a", "it's"][pick(rng, 3)])),
        3 => Filter::compare("n", cmp, Value::I32(i32::try_from(rng.below(5)).unwrap() - 2)),
        4 => Filter::compare("b", Cmp::Eq, Value::Bool(rng.chance(0.5))),
        5 | 6 => Filter::And((0..=rng.below(3)).map(|_| filter(rng, depth - 1)).collect()),
        _ => Filter::Or((0..=rng.below(3)).map(|_| filter(rng, depth - 1)).collect()),
    }
}

fn lease(rng: &Rng) -> Lease {
    let id = LEASE_IDS[pick(rng, 2)].to_owned();
    match rng.below(5) {
        0 | 1 => Lease::Acquire { id, duration: Duration::from_secs(60) },
        2 => Lease::Renew { id },
        3 => Lease::Change { id, proposed: LEASE_IDS[pick(rng, 2)].to_owned() },
        _ => Lease::Release { id },
    }
}

async fn play(step: &Step, storage: &Storage, side: usize, names: &Names, known: &Known) -> Answer {
    match step {
        Step::Write(_) | Step::Transact(_) | Step::Get(..) | Step::Query(_) => play_rows(step, storage, side, names, known).await,
        Step::PutBlob { .. } | Step::GetBlob(_) | Step::DeleteBlob(_) | Step::List(_) | Step::Lease(_) => {
            play_blobs(step, storage, side, names, known).await
        }
        _ => play_messages(step, storage, side, names, known).await,
    }
}

async fn play_rows(step: &Step, storage: &Storage, side: usize, names: &Names, known: &Known) -> Answer {
    let (tables, table) = (storage.tables.as_ref(), names.table.as_str());
    let written = |writes: &[RowWrite], answer: Result<Vec<Option<Etag>>>| match answer {
        Ok(etags) => {
            let given = |(write, etag): (&RowWrite, Option<Etag>)| etag.map(|etag| (id(&write.entity), etag));
            let shape = format!("{:?}", etags.iter().map(Option::is_some).collect::<Vec<_>>());
            let rows: Vec<_> = writes.iter().zip(etags).filter_map(given).collect();
            let fresh = rows.iter().all(|(id, etag)| known.row_class(side, id, etag).is_none());
            Answer { shape: format!("{shape}, fresh {fresh}"), rows, ..Answer::default() }
        }
        Err(error) => failed(&error),
    };
    let class = |row: &Row| known.row_class(side, &id(&row.entity), &row.etag);
    match step {
        Step::Write(write) => {
            let answer = tables.write(table, &write.op(known, side)).await.map(|etag| vec![etag]);
            written(std::slice::from_ref(write), answer)
        }
        Step::Transact(writes) => {
            let ops: Vec<_> = writes.iter().map(|write| write.op(known, side)).collect();
            written(writes, tables.transact(table, &ops).await)
        }
        Step::Get(partition_key, row_key) => {
            shaped(tables.get(table, partition_key, row_key, &[]).await.map(|row| (class(&row), row.entity)))
        }
        Step::Query(query) => {
            let rows = all(tables, table, query.clone()).await;
            // A query with a selection need not tell versions.
            let versions = query.select.is_empty();
            shaped(Ok(rows.into_iter().map(|row| (versions.then(|| class(&row)), row.entity)).collect::<Vec<_>>()))
        }
        _ => unreachable!("only calls of tables come here"),
    }
}

async fn play_messages(step: &Step, storage: &Storage, side: usize, names: &Names, known: &Known) -> Answer {
    let (queues, queue) = (storage.queues.as_ref(), names.other.as_str());
    let texts =
        |messages: &[QueueMessage]| messages.iter().map(|m| format!("{} x{}", m.text, m.dequeue_count)).collect::<Vec<_>>();
    let sorted = |mut messages: Vec<QueueMessage>| {
        messages.sort_by(|a, b| a.text.cmp(&b.text).then(a.dequeue_count.cmp(&b.dequeue_count)));
        messages
    };
    match step {
        Step::Put { text, delay } => match queues.put(queue, text, *delay).await {
            Ok(put) => Answer { put: true, receipts: vec![(put.id, put.pop_receipt)], ..Answer::default() },
            Err(error) => failed(&error),
        },
        Step::Receive => match queues.receive(queue, 32, HIDDEN).await.map(sorted) {
            Ok(messages) => {
                let shape = texts(&messages).join(", ");
                let receipts = messages.into_iter().map(|message| (message.id, message.pop_receipt)).collect();
                Answer { shape, receipts, ..Answer::default() }
            }
            Err(error) => failed(&error),
        },
        Step::Update { receipt, visibility, text } => {
            let (id, receipt) = &known.receipts[*receipt][side];
            match queues.update(queue, id, receipt, *visibility, text.as_deref()).await {
                Ok(next) => Answer { receipts: vec![(id.clone(), next)], ..Answer::default() },
                Err(error) => failed(&error),
            }
        }
        Step::Delete { receipt } => {
            let (id, receipt) = &known.receipts[*receipt][side];
            shaped(queues.delete(queue, id, receipt).await)
        }
        Step::Peek => shaped(queues.peek(queue, 32).await.map(|messages| texts(&sorted(messages)))),
        Step::Count => shaped(queues.count(queue).await),
        _ => unreachable!("only calls of queues come here"),
    }
}

async fn play_blobs(step: &Step, storage: &Storage, side: usize, names: &Names, known: &Known) -> Answer {
    let (blobs, container) = (storage.blobs.as_ref(), names.other.as_str());
    let class = |etag: &Etag| known.blobs.iter().position(|pair| pair[side] == *etag);
    match step {
        Step::PutBlob { name, text, absent, version } => {
            let condition = match version {
                Some(version) => PutCondition::Etag(known.blobs[*version][side].clone()),
                None if *absent => PutCondition::Absent,
                None => PutCondition::Always,
            };
            match blobs.put(container, name, Bytes::from(text.clone()), condition).await {
                Ok(etag) => Answer { shape: format!("{:?}", class(&etag)), blob: Some(etag), ..Answer::default() },
                Err(error) => failed(&error),
            }
        }
        Step::GetBlob(name) => shaped(blobs.get(container, name, 1000).await.map(|blob| (class(&blob.etag), blob.bytes))),
        Step::DeleteBlob(name) => shaped(blobs.delete(container, name).await),
        Step::List(prefix) => {
            let mut names = Vec::new();
            let mut page = blobs.list(container, prefix, None).await.unwrap();
            while let Some(continuation) = page.continuation.take() {
                names.append(&mut page.names);
                page = blobs.list(container, prefix, Some(&continuation)).await.unwrap();
            }
            names.append(&mut page.names);
            shaped(Ok(names))
        }
        Step::Lease(lease) => shaped(blobs.lease(container, lease).await),
        _ => unreachable!("only calls of blobs come here"),
    }
}

fn shaped<T: std::fmt::Debug>(answer: Result<T>) -> Answer {
    answer.map_or_else(|error| failed(&error), |value| Answer { shape: format!("{value:?}"), ..Answer::default() })
}

fn failed(error: &Error) -> Answer {
    Answer { shape: format!("{:?}", error.kind), ..Answer::default() }
}

fn id(entity: &Entity) -> RowId {
    (entity.partition_key.clone(), entity.row_key.clone())
}

fn row_key(row: u64) -> String {
    if row == 0 { String::new() } else { format!("r{row}") }
}

fn pick(rng: &Rng, below: usize) -> usize {
    usize::try_from(rng.below(below as u64)).unwrap()
}
