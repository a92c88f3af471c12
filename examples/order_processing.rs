//! The main example: orders are reserved, charged with retries and shipped, by however many processes share the task hub.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use support::{Argument, Arguments, HUB, Outcome, STORAGE};
use taskhub::{
    Activity, ActivityContext, Client, EventKind, Failure, HistoryEvent, Instance, OrchestrationContext, Orchestrator,
    RetryPolicy, Worker, WorkerBuilder, with_state,
};
use tokio::time::{Instant, sleep};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    number: u32,
    cents: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hold {
    order: Order,
    shelf: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Receipt {
    hold: Hold,
    payment: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Quote {
    carrier: String,
    cents: u64,
}

const RESERVE: Activity<Order, Hold> = Activity::new("Reserve");
const CHARGE: Activity<Hold, Receipt> = Activity::new("Charge");
const SHIP: Activity<Receipt, String> = Activity::new("Ship");
const ASK_CARRIER: Activity<String, Quote> = Activity::new("AskCarrier");
const FULFIL: Orchestrator<Order, String> = Orchestrator::new("Fulfil");
const CHEAPEST_CARRIER: Orchestrator<Vec<String>, Quote> = Orchestrator::new("CheapestCarrier");

const ORDERS: Argument = ("--orders", "how many orders to place; 3 in memory, 10 on a storage account");
const PATIENCE: Duration = Duration::from_secs(300);

/// A chain: each step begins when the one before it is recorded, and is never taken back by a crash.
async fn fulfil(ctx: OrchestrationContext, order: Order) -> Result<String, Failure> {
    ctx.set_custom_status("reserving");
    let hold = ctx.call(RESERVE, &order).await?;
    ctx.set_custom_status("charging");
    let retry = RetryPolicy::exponential(5, Duration::from_millis(500)).only_if(|failure| failure.error_type != "CardRefused");
    let receipt = ctx.call(CHARGE, &hold).retry(retry).await?;
    ctx.set_custom_status("shipping");
    let parcel = ctx.call(SHIP, &receipt).await?;
    ctx.set_custom_status("on its way");
    Ok(parcel)
}

/// A fan-out: all carriers are asked, on whatever worker has a free slot, and the best answer wins.
async fn cheapest_carrier(ctx: OrchestrationContext, carriers: Vec<String>) -> Result<Quote, Failure> {
    let quotes = try_join_all(carriers.iter().map(|carrier| ctx.call(ASK_CARRIER, carrier))).await?;
    quotes.into_iter().min_by_key(|quote| quote.cents).ok_or_else(|| Failure::new("NoCarriers", "there is nobody to ask"))
}

/// What this process does: its part of the activities.
#[derive(Debug)]
struct Shop {
    opened: Instant,
    done: AtomicU32,
}

impl Shop {
    fn say(&self, who: &str, what: &str) {
        // Generated ids are long; their beginnings tell a few orders apart.
        println!("{:7.3} s  {who:8.8}  {what}", self.opened.elapsed().as_secs_f64());
    }

    /// Every activity takes its time, so that there is something to share.
    async fn work(&self, ctx: &ActivityContext, what: &str) {
        self.say(ctx.instance_id(), what);
        sleep(Duration::from_millis(200)).await;
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    async fn reserve(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<Hold, Failure> {
        self.work(&ctx, "reserving the goods").await;
        Ok(Hold { shelf: format!("shelf {}", order.number % 7), order })
    }

    async fn charge(self: Arc<Self>, ctx: ActivityContext, hold: Hold) -> Result<Receipt, Failure> {
        self.work(&ctx, &format!("charging {}.{:02}", hold.order.cents / 100, hold.order.cents % 100)).await;
        // An activity that can run twice must not charge twice: this key is the same whenever the same call runs again.
        let payment = ctx.idempotency_key();
        if ctx.attempt() == 1 && hold.order.number % 2 == 1 {
            self.say(ctx.instance_id(), "the bank does not answer; retried in half a second");
            return Err(Failure::new("Unavailable", "the bank does not answer"));
        }
        Ok(Receipt { hold, payment })
    }

    async fn ship(self: Arc<Self>, ctx: ActivityContext, receipt: Receipt) -> Result<String, Failure> {
        self.work(&ctx, &format!("shipping from {}", receipt.hold.shelf)).await;
        Ok(format!("parcel-{}", receipt.hold.order.number))
    }

    async fn ask_carrier(self: Arc<Self>, ctx: ActivityContext, carrier: String) -> Result<Quote, Failure> {
        self.work(&ctx, &format!("asking {carrier}")).await;
        Ok(Quote { cents: 400 + 35 * carrier.len() as u64, carrier })
    }

    fn register(self: &Arc<Self>, builder: WorkerBuilder) -> WorkerBuilder {
        builder
            .orchestrator(FULFIL, fulfil)
            .orchestrator(CHEAPEST_CARRIER, cheapest_carrier)
            .activity(RESERVE, with_state(self, Self::reserve))
            .activity(CHARGE, with_state(self, Self::charge))
            .activity(SHIP, with_state(self, Self::ship))
            .activity(ASK_CARRIER, with_state(self, Self::ask_carrier))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    support::log_to_stderr("error");
    match Arguments::from_command_line(&[STORAGE, HUB, ORDERS]) {
        Ok(arguments) => support::exit_code(run(&arguments).await),
        Err(code) => code,
    }
}

async fn run(arguments: &Arguments) -> Outcome {
    let orders = arguments.number(ORDERS)?;
    let (hub, is_shared) = support::open(arguments, "Orders", None).await?;
    let orders = orders.unwrap_or(if is_shared { 10 } else { 3 });

    let shop = Arc::new(Shop { opened: Instant::now(), done: AtomicU32::new(0) });
    // Two activities at a time: what is too much for one process is left to others.
    let worker = shop.register(Worker::builder(&hub)).max_activities(2).max_poll_interval(Duration::from_secs(1)).build()?;
    println!("{} partitions, worker {}", hub.partitions(), worker.id());
    if is_shared {
        println!("Start this program again, now, in another terminal: both processes share the orders of both.");
    }
    println!();
    let client = Client::new(&hub);
    support::beside_worker(worker, async {
        let last = place_orders(&shop, &client, orders).await?;
        compare_carriers(&shop, &client).await?;
        if let Some(order) = last {
            println!("\nThe recorded history of {order}:\n");
            print_history(&order.history().await?);
        }
        println!(
            "\nThis process ran {} activities. It finishes what it has begun, and leaves.",
            shop.done.load(Ordering::Relaxed)
        );
        Ok(())
    })
    .await
}

/// Places the orders and waits for all of them. The last of them.
async fn place_orders(shop: &Shop, client: &Client, orders: u32) -> Outcome<Option<Instance<String>>> {
    let mut placed = Vec::new();
    for number in 1..=orders {
        let order = Order { number, cents: 1999 + 250 * u64::from(number) };
        // A generated id: a second process places orders of its own.
        let placing = client.start(FULFIL, &order).tag("channel", "web").await?;
        shop.say("client", &format!("placed order {number} as {placing}"));
        placed.push((number, placing));
    }
    for (number, order) in &placed {
        let parcel = order.result().within(PATIENCE).await?;
        shop.say("client", &format!("order {number} is on its way: {parcel}"));
        support::expect(parcel, format!("parcel-{number}"))?;
    }
    Ok(placed.pop().map(|(_, order)| order))
}

async fn compare_carriers(shop: &Shop, client: &Client) -> Outcome {
    let carriers = ["Pigeon", "Snail & Sons", "Express", "Balloon"].map(str::to_owned).to_vec();
    let quote = client.start(CHEAPEST_CARRIER, carriers).await?.result().within(PATIENCE).await?;
    shop.say("client", &format!("the cheapest carrier is {} at {} cents", quote.carrier, quote.cents));
    support::expect(quote.carrier.as_str(), "Pigeon")
}

/// One line per row of the history table.
fn print_history(history: &[HistoryEvent]) {
    println!("{:>3}  {:28}  {:20}  {:>4}  detail", "row", "time (UTC)", "event", "task");
    for (row, event) in history.iter().enumerate() {
        let task = event.kind.completes().unwrap_or(event.event_id);
        let task = if task < 0 { String::new() } else { task.to_string() };
        println!(
            "{row:>3}  {:28}  {:20}  {task:>4}  {}",
            event.timestamp.to_string(),
            event.kind.type_name(),
            detail(&event.kind)
        );
    }
}

fn detail(kind: &EventKind) -> String {
    let text = |json: &Option<String>| json.clone().unwrap_or_else(|| "null".to_owned());
    let detail = match kind {
        EventKind::ExecutionStarted(start) => format!("{}({})", start.name, text(&start.input)),
        EventKind::TaskScheduled { name, .. } => name.clone(),
        EventKind::TaskCompleted { result, .. } => text(result),
        EventKind::TaskFailed { reason, .. } => reason.clone().unwrap_or_default(),
        EventKind::TimerCreated { fire_at } | EventKind::TimerFired { fire_at, .. } => format!("due {fire_at}"),
        EventKind::ExecutionCompleted { status, result, .. } => format!("{status} {}", text(result)),
        _ => String::new(),
    };
    if detail.chars().count() <= 70 { detail } else { detail.chars().take(67).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    fn shop() -> Arc<Shop> {
        Arc::new(Shop { opened: Instant::now(), done: AtomicU32::new(0) })
    }

    #[tokio::test]
    async fn an_order_is_charged_again_when_the_bank_does_not_answer() {
        let host = TestHost::builder(|worker| shop().register(worker)).start().await;
        let parcel = host.run(FULFIL, Order { number: 7, cents: 1250 }).await.unwrap();
        assert_eq!(parcel, "parcel-7");
        assert_eq!((host.calls(RESERVE).len(), host.calls(CHARGE).len(), host.calls(SHIP).len()), (1, 2, 1));
    }

    #[tokio::test]
    async fn a_card_that_is_refused_is_charged_once_and_nothing_is_shipped() {
        let host = TestHost::builder(|worker| shop().register(worker))
            .on(CHARGE, |_, _| Err(Failure::new("CardRefused", "no money")))
            .start()
            .await;
        let error = host.run(FULFIL, Order { number: 7, cents: 1250 }).await.unwrap_err();
        assert_eq!(error.failure().unwrap().root_cause().error_type, "CardRefused");
        assert_eq!((host.calls(CHARGE).len(), host.calls(SHIP).len()), (1, 0));
    }

    #[tokio::test]
    async fn the_cheapest_carrier_is_taken() {
        let host = TestHost::builder(|worker| worker.orchestrator(CHEAPEST_CARRIER, cheapest_carrier))
            .on(ASK_CARRIER, |call, carrier| Ok(Quote { carrier, cents: if call == 2 { 5 } else { 9 } }))
            .start()
            .await;
        let carriers = ["Slow", "Cheap", "Dear"].map(str::to_owned).to_vec();
        assert_eq!(host.run(CHEAPEST_CARRIER, carriers).await.unwrap().carrier, "Cheap");
    }
}
