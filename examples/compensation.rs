//! Compensation: steps in several systems that have no transaction in common, and are taken back in reverse when a later one fails.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

mod support;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskhub::{Activity, ActivityContext, ErrorKind, Failure, OrchestrationContext, Orchestrator, RetryPolicy, with_state};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trip {
    to: String,
    days: u32,
}

const BOOK_HOTEL: Activity<Trip, String> = Activity::new("BookHotel");
const BOOK_FLIGHT: Activity<Trip, String> = Activity::new("BookFlight");
const BOOK_CAR: Activity<Trip, String> = Activity::new("BookCar");
const CANCEL: Activity<String, ()> = Activity::new("Cancel");
const TRAVEL: Orchestrator<Trip, Vec<String>> = Orchestrator::new("Travel");

/// Each step says how to take it back as soon as it is done. A compensation has to succeed in the end, so it is patient.
async fn travel(ctx: OrchestrationContext, trip: Trip) -> Result<Vec<String>, Failure> {
    ctx.saga(async |saga| {
        let mut booked = Vec::new();
        for book in [BOOK_HOTEL, BOOK_FLIGHT, BOOK_CAR] {
            let booking = ctx.call(book, &trip).await?;
            booked.push(booking.clone());
            saga.compensate(move |ctx| ctx.call(CANCEL, booking).retry(RetryPolicy::exponential(10, Duration::from_secs(1))));
        }
        Ok(booked)
    })
    .await
}

/// The bookings that stand.
type Bookings = Arc<Mutex<BTreeSet<String>>>;

async fn book(bookings: Bookings, ctx: ActivityContext, trip: Trip) -> Result<String, Failure> {
    let booking = format!("{} to {}", ctx.name(), trip.to);
    if ctx.name() == BOOK_CAR.name() && trip.days > 30 {
        return Err(Failure::new("NoCars", "no car is to be had for so long").non_retriable());
    }
    println!("  booked    {booking}");
    // A set: the same call may run twice.
    bookings.lock().unwrap_or_else(PoisonError::into_inner).insert(booking.clone());
    Ok(booking)
}

async fn cancel(bookings: Bookings, _: ActivityContext, booking: String) -> Result<(), Failure> {
    println!("  cancelled {booking}");
    bookings.lock().unwrap_or_else(PoisonError::into_inner).remove(&booking);
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let bookings = Bookings::default();
    support::run(
        "Compensation",
        |worker| {
            worker
                .orchestrator(TRAVEL, travel)
                .activity(BOOK_HOTEL, with_state(&bookings, book))
                .activity(BOOK_FLIGHT, with_state(&bookings, book))
                .activity(BOOK_CAR, with_state(&bookings, book))
                .activity(CANCEL, with_state(&bookings, cancel))
        },
        async |client| {
            let short = client.start(TRAVEL, Trip { to: "Rome".to_owned(), days: 3 }).await?;
            support::expect(short.result().within(Duration::from_secs(60)).await?.len(), 3)?;

            let long = client.start(TRAVEL, Trip { to: "Oslo".to_owned(), days: 90 }).await?;
            let failed = long.result().within(Duration::from_secs(60)).await.err().ok_or("there were cars")?;
            println!("{failed}");
            support::expect(failed.kind(), ErrorKind::Failed)?;
            let stand = bookings.lock().unwrap_or_else(PoisonError::into_inner).clone();
            support::expect(stand.iter().all(|booking| booking.ends_with("Rome")), true)
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use taskhub::testing::TestHost;

    use super::*;

    #[tokio::test]
    async fn what_was_booked_is_cancelled_in_reverse_however_often_that_has_to_be_tried() {
        let host = TestHost::builder(|worker| worker.orchestrator(TRAVEL, travel))
            .on(BOOK_HOTEL, |_, _| Ok("hotel".to_owned()))
            .on(BOOK_FLIGHT, |_, _| Ok("flight".to_owned()))
            .on(BOOK_CAR, |_, _| Err(Failure::new("NoCars", "no car is to be had")))
            .on(CANCEL, |call, _| if call == 1 { Err(Failure::new("Busy", "later")) } else { Ok(()) })
            .start()
            .await;
        let error = host.run(TRAVEL, Trip { to: "Oslo".to_owned(), days: 90 }).await.unwrap_err();
        assert_eq!(error.failure().unwrap().root_cause().error_type, "NoCars");
        assert_eq!(host.calls(CANCEL), ["flight", "flight", "hotel"]);
    }

    #[tokio::test]
    async fn a_trip_that_is_booked_is_not_cancelled() {
        let bookings = Bookings::default();
        let books = bookings.clone();
        let host =
            TestHost::builder(move |worker| worker.orchestrator(TRAVEL, travel).activity(BOOK_HOTEL, with_state(&books, book)))
                .on(BOOK_FLIGHT, |_, _| Ok("flight".to_owned()))
                .on(BOOK_CAR, |_, _| Ok("car".to_owned()))
                .start()
                .await;
        let booked = host.run(TRAVEL, Trip { to: "Rome".to_owned(), days: 3 }).await.unwrap();
        assert_eq!(booked, ["BookHotel to Rome", "flight", "car"]);
        assert_eq!(bookings.lock().unwrap().len(), 1);
        assert!(host.calls(CANCEL).is_empty());
    }
}
