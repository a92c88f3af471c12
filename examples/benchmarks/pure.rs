//! What a turn costs without storage, by criterion: a replay, a page of history, a turn of an execution in memory. `cargo bench --bench pure`; the
//! name of a case behind `--`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use taskhub::internals::Sequence;

fn replay(criterion: &mut Criterion) {
    let sequence = Sequence::of(10_000);
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(sequence.events() as u64));
    group.bench_function("10,000 events", |bencher| bencher.iter(|| black_box(&sequence).replay()));
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let page = Sequence::of(1_000).page();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(page.bytes() as u64));
    group.bench_function("a page of 1,000 rows", |bencher| bencher.iter(|| black_box(&page).decode()));
    group.finish();
}

fn turn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for events in [100, 10_000] {
        let mut sequence = Sequence::of(events);
        group.bench_function(format!("behind {events} events"), |bencher| bencher.iter(|| sequence.go_on()));
    }
    group.finish();
}

criterion_group!(benches, replay, decode, turn);
criterion_main!(benches);
