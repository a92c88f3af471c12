//! Limits of single orchestrators and activities, beside those of the whole worker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::authoring::Registry;

/// How much of one orchestrator or activity a worker runs. Every worker of a hub has its own count, so that the hub runs as much as all of them
/// together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limit {
    at_once: Option<usize>,
    per_second: Option<f64>,
}

/// Something with a limit of its own.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) name: &'static str,
    pub(super) is_activity: bool,
    pub(super) limit: Limit,
}

/// What waits for no longer than this waits here; the rest goes back to the queue, where other workers find it.
const SOON: Duration = Duration::from_secs(1);
/// What waits here takes no more than this part of the places of the worker.
const WAITING_PART: usize = 4;
/// The longest time that something is away, however much waits.
const AWAY_MAX: Duration = Duration::from_secs(600);
/// Where other workers could run it, as many are looked at a second, so that each is there for them now and then,
const LOOKS_PER_SECOND: u32 = 10;
/// but none before so long.
const SHARED_AWAY: Duration = Duration::from_secs(5);

/// The limits of a worker, by names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Throttles {
    pub(super) orchestrators: BTreeMap<String, Throttle>,
    pub(super) activities: BTreeMap<String, Throttle>,
}

/// One limit, and what runs under it.
#[derive(Debug)]
pub(crate) struct Throttle {
    places: Option<Semaphore>,
    at_once: usize,
    /// How many may wait here for a place.
    waiting_max: usize,
    waiting: AtomicUsize,
    waiting_in_all: Arc<Waiters>,
    rate: Option<Rate>,
    pace: Mutex<Pace>,
}

/// Those that wait here under all limits together, so that they leave places to what has none.
#[derive(Debug)]
struct Waiters {
    now: AtomicUsize,
    most: usize,
}

/// So many in a time.
#[derive(Clone, Copy, Debug)]
struct Rate {
    count: usize,
    window: Duration,
}

/// What tells when something can be begun.
#[derive(Debug)]
struct Pace {
    /// When the last ones began, or are to begin: as many as the rate counts.
    begun: VecDeque<Instant>,
    /// How long one usually runs.
    usual: Duration,
    /// When the last of those that went back comes again.
    returns: Instant,
}

/// A place of something that runs under a limit.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    throttle: &'a Throttle,
    since: Instant,
    _permit: Option<SemaphorePermit<'a>>,
}

/// One that waits here.
struct Waiter<'a>(&'a Throttle);

impl Limit {
    /// No limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many at once: runs of an activity, or turns of an orchestrator. At least one.
    #[must_use]
    pub fn at_once(self, count: usize) -> Self {
        Self { at_once: Some(count), ..self }
    }

    /// So many in any second: runs of an activity that begin, or instances of an orchestrator that do. More than zero, and at most a million;
    /// `0.5` is one in any two seconds, and `2.5` two in any 0.8 seconds.
    #[must_use]
    pub fn per_second(self, count: f64) -> Self {
        Self { per_second: Some(count), ..self }
    }

    /// Why it is none.
    pub(super) fn why_not(&self) -> Option<String> {
        match (self.at_once, self.per_second) {
            (Some(0), _) => Some("nothing could run with a limit of 0 at once".to_owned()),
            (_, Some(rate)) if !(rate.is_finite() && rate > 0.0 && rate <= 1e6) => {
                Some(format!("a limit of {rate} a second is none; it has to be more than 0, and at most 1,000,000"))
            }
            _ => None,
        }
    }
}

impl Rate {
    /// A rate of less than one is one in so long; others are whole numbers in about a second.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is at most a million"
    )]
    fn of(per_second: f64) -> Self {
        let count = per_second.floor().max(1.0);
        Self { count: count as usize, window: Duration::from_secs_f64(count / per_second) }
    }
}

impl Throttles {
    /// The limits, if all of them can be kept. The worker has so many places for activities.
    pub(super) fn of(limits: &[Limited], registry: &Registry, places: usize) -> Result<Self, String> {
        let mut throttles = Self::default();
        let waiters = Arc::new(Waiters { now: AtomicUsize::new(0), most: (places / WAITING_PART).max(1) });
        for Limited { name, is_activity, limit } in limits {
            let (what, is_known, all) = match is_activity {
                true => ("activity", registry.knows_activity(name), &mut throttles.activities),
                false => ("orchestrator", registry.knows_orchestrator(name), &mut throttles.orchestrators),
            };
            if let Some(why) = limit.why_not() {
                return Err(format!("the limit of the {what} \"{name}\": {why}"));
            }
            if !is_known {
                return Err(format!("the {what} \"{name}\" has a limit and is not registered"));
            }
            if all.insert(name.to_lowercase(), Throttle::new(*limit, &waiters)).is_some() {
                return Err(format!("the {what} \"{name}\" has more than one limit"));
            }
        }
        Ok(throttles)
    }

    pub(super) fn orchestrator(&self, name: &str) -> Option<&Throttle> {
        self.orchestrators.get(&name.to_lowercase())
    }

    pub(super) fn activity(&self, name: &str) -> Option<&Throttle> {
        self.activities.get(&name.to_lowercase())
    }
}

impl Throttle {
    fn new(limit: Limit, waiters: &Arc<Waiters>) -> Self {
        let at_once = limit.at_once.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            places: limit.at_once.map(|_| Semaphore::new(at_once)),
            at_once,
            waiting_max: at_once.min(waiters.most),
            waiting: AtomicUsize::new(0),
            waiting_in_all: Arc::clone(waiters),
            rate: limit.per_second.map(Rate::of),
            pace: Mutex::new(Pace { begun: VecDeque::new(), usual: Duration::ZERO, returns: Instant::now() }),
        }
    }

    /// A place as soon as there is one. As many wait for it as may run; for others it is told when to ask again, which is sooner if
    /// other workers could have them meanwhile.
    pub(super) async fn place(&self, is_shared: bool) -> Result<Place<'_>, Duration> {
        self.place_here(is_shared).await.map_err(|away| if is_shared { self.looked_at(away) } else { away })
    }

    async fn place_here(&self, is_shared: bool) -> Result<Place<'_>, Duration> {
        let permit = match &self.places {
            None => None,
            Some(places) => match places.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let _waiter = self.wait().ok_or_else(|| self.away())?;
                    let limit = if is_shared { SOON } else { Duration::MAX };
                    let permit = tokio::time::timeout(limit, places.acquire()).await;
                    permit.map_err(|_| self.away())?.ok()
                }
            },
        };
        let begins = self.begin(SOON)?;
        tokio::time::sleep_until(begins).await;
        Ok(Place { throttle: self, since: Instant::now(), _permit: permit })
    }

    /// A place, however long that takes: for what is over soon.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        match &self.places {
            Some(places) => places.acquire().await.ok(),
            None => None,
        }
    }

    /// Lets something begin now, or tells when to ask again.
    pub(super) fn begin_now(&self) -> Result<(), Duration> {
        self.begin(Duration::ZERO).map(drop)
    }

    /// When something is to begin, if that is within so long.
    fn begin(&self, within: Duration) -> Result<Instant, Duration> {
        let now = Instant::now();
        let Some(rate) = self.rate else { return Ok(now) };
        let mut pace = self.lock();
        let full = pace.begun.len() >= rate.count;
        let begins = pace.begun.front().filter(|_| full).map_or(now, |oldest| now.max(*oldest + rate.window));
        if begins > now + within {
            drop(pace);
            return Err(self.away());
        }
        if full {
            pace.begun.pop_front();
        }
        pace.begun.push_back(begins);
        Ok(begins)
    }

    /// When the next of those that went back is to come again: one after the other, at the pace of the limit.
    fn away(&self) -> Duration {
        let now = Instant::now();
        let mut pace = self.lock();
        let comes = pace.returns.max(now + SOON).min(now + AWAY_MAX);
        pace.returns = comes + self.gap(&pace);
        comes.duration_since(now)
    }

    /// Between two that begin, at full use of the limit.
    fn gap(&self, pace: &Pace) -> Duration {
        let by_rate = self.rate.map_or(Duration::ZERO, |rate| rate.window / u32::try_from(rate.count).unwrap_or(u32::MAX));
        by_rate.max(pace.usual / u32::try_from(self.at_once).unwrap_or(u32::MAX))
    }

    /// How long one of those is away for which this worker alone would take so long.
    fn looked_at(&self, away: Duration) -> Duration {
        let gap = self.gap(&self.lock()).as_secs_f64();
        let waiting = if gap > 0.0 { away.as_secs_f64() / gap } else { 0.0 };
        let most = SHARED_AWAY.as_secs_f64().max(waiting / f64::from(LOOKS_PER_SECOND));
        // Those that would be away for longer are spread over that time.
        SOON + Duration::from_secs_f64((away.saturating_sub(SOON)).as_secs_f64() % most)
    }

    fn wait(&self) -> Option<Waiter<'_>> {
        let waiter = Waiter(self);
        let here = self.waiting.fetch_add(1, Relaxed);
        let in_all = self.waiting_in_all.now.fetch_add(1, Relaxed);
        (here < self.waiting_max && in_all < self.waiting_in_all.most).then_some(waiter)
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.0.waiting_in_all.now.fetch_sub(1, Relaxed);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut pace = self.throttle.lock();
        pace.usual = (pace.usual * 3 + self.since.elapsed()) / 4;
    }
}
