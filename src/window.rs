//! A congestion window: how much may be under way at once, by how long each piece of it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Places for what is under way. They become more while it is quick and all of them are taken, and as many as fit when most of it
/// is late: the line that forms where the work is done stays short, whoever does it and however slow he gets.
///
/// By Little's law the time that a piece takes is the number under way through the rate of the work. The rate is not known, but the
/// time is seen on every piece, and so is the number that would not be late.
#[derive(Debug)]
pub(crate) struct Window {
    /// See [`Bounds::late`].
    late: Duration,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

/// What a window is between, and what it begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) least: usize,
    pub(crate) first: usize,
    pub(crate) most: usize,
    /// What takes longer is late, what takes less than half of it is quick.
    pub(crate) late: Duration,
}

#[derive(Debug)]
struct State {
    least: usize,
    most: usize,
    width: usize,
    /// Places that vanish when they become free.
    surplus: usize,
    /// About how long a piece takes.
    typical: Duration,
    votes: Votes,
    /// What was begun before the last narrowing tells nothing about it.
    narrowed: Instant,
}

/// What was finished since then.
#[derive(Debug)]
struct Votes {
    since: Instant,
    in_time: u32,
    late: u32,
    /// How long the late ones took together.
    lateness: Duration,
}

/// Places that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Room {
    window: Arc<Window>,
    permits: Option<OwnedSemaphorePermit>,
}

/// The place of something that is under way; how long it was taken tells the window how it goes.
#[derive(Debug)]
pub(crate) struct Place {
    window: Arc<Window>,
    permit: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// Time that says nothing about the work.
    left_out: Duration,
    counts: bool,
}

impl Bounds {
    /// Of a window that is always as wide.
    pub(crate) fn fixed(places: usize) -> Self {
        Self { least: places, first: places, most: places, late: Duration::MAX }
    }
}

impl Window {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        let most = bounds.most.clamp(1, Semaphore::MAX_PERMITS);
        let least = bounds.least.clamp(1, most);
        let first = bounds.first.clamp(least, most);
        let now = Instant::now();
        let (typical, votes) = (Duration::ZERO, Votes::from(now));
        let state = State { least, most, width: first, surplus: 0, typical, votes, narrowed: now };
        Arc::new(Self { late: bounds.late, places: Arc::new(Semaphore::new(first)), state: Mutex::new(state) })
    }

    /// Waits for a place and takes it. Those who wait get one in their order.
    pub(crate) async fn enter(self: &Arc<Self>) -> Place {
        let mut room = self.room(1).await;
        room.take().expect("it has a place")
    }

    /// Takes a place if one is free.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let permits = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Room { window: Arc::clone(self), permits: Some(permits) }.take()
    }

    /// Waits for free places: at least one, at most so many.
    pub(crate) async fn room(self: &Arc<Self>, most: usize) -> Room {
        let mut permits = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        while permits.num_permits() < most {
            let Ok(more) = Arc::clone(&self.places).try_acquire_owned() else { break };
            permits.merge(more);
        }
        Room { window: Arc::clone(self), permits: Some(permits) }
    }

    /// How many places there are.
    pub(crate) fn width(&self) -> usize {
        self.state().width
    }

    /// About how long a piece takes now.
    pub(crate) fn typical(&self) -> Duration {
        self.state().typical
    }

    /// Something that was begun then has taken so long.
    fn finished(&self, begun: Instant, took: Duration) {
        let (late, is_full) = (self.late, self.is_full());
        let (mut state, now) = (self.state(), Instant::now());
        state.typical = (state.typical * 7 + took) / 8;
        if took <= late {
            state.votes.in_time += 1;
        } else if begun >= state.narrowed {
            state.votes.late += 1;
            state.votes.lateness += took;
        }
        if took < late / 2 && is_full && state.width < state.most {
            self.widen(&mut state, 1);
        }
        if now.duration_since(state.votes.since) < late {
            return;
        }
        if let Some(mean) = state.votes.mean_if_most_are_late() {
            let fits = state.width as f64 * late.as_secs_f64() / mean.as_secs_f64();
            let width = (fits as usize).clamp(state.least, state.width);
            self.narrow_to(&mut state, width);
            state.narrowed = now;
        }
        state.votes = Votes::from(now);
    }

    /// Makes it at least so wide, within its bounds: for work to go on beside what hangs.
    pub(crate) fn widen_to(&self, width: usize) {
        let mut state = self.state();
        let more = width.min(state.most).saturating_sub(state.width);
        self.widen(&mut state, more);
    }

    /// Makes it so wide and keeps it there. Where it was wider, places that are taken vanish as they become free.
    pub(crate) fn fix_at(&self, width: usize) {
        let (mut state, width) = (self.state(), width.clamp(1, Semaphore::MAX_PERMITS));
        (state.least, state.most) = (width, width);
        let more = width.saturating_sub(state.width);
        self.widen(&mut state, more);
        self.narrow_to(&mut state, width);
    }

    /// Whether every place is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    fn widen(&self, state: &mut State, more: usize) {
        let kept = more.min(state.surplus);
        state.surplus -= kept;
        state.width += more;
        self.places.add_permits(more - kept);
    }

    fn narrow_to(&self, state: &mut State, width: usize) {
        let fewer = state.width - width;
        state.surplus += fewer - self.places.forget_permits(fewer);
        state.width = width;
    }

    fn give_back(&self, mut permits: OwnedSemaphorePermit) {
        let mut state = self.state();
        let vanish = state.surplus.min(permits.num_permits());
        state.surplus -= vanish;
        if let Some(vanishing) = permits.split(vanish) {
            vanishing.forget();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Votes {
    fn from(since: Instant) -> Self {
        Self { since, in_time: 0, late: 0, lateness: Duration::ZERO }
    }

    /// How long the late ones took, if they are the most.
    fn mean_if_most_are_late(&self) -> Option<Duration> {
        (self.late > self.in_time).then(|| self.lateness / self.late)
    }
}

impl Room {
    pub(crate) fn places(&self) -> usize {
        self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Takes a place, as long as there are any: its time begins.
    pub(crate) fn take(&mut self) -> Option<Place> {
        let permit = self.permits.as_mut()?.split(1)?;
        let window = Arc::clone(&self.window);
        Some(Place { window, permit: Some(permit), begun: Instant::now(), left_out: Duration::ZERO, counts: true })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.permits.take().into_iter().for_each(|permits| self.window.give_back(permits));
    }
}

impl Place {
    /// Leaves out time that says nothing about how it goes.
    pub(crate) fn leave_out(&mut self, time: Duration) {
        self.left_out += time;
    }

    /// How this goes says nothing about the others.
    pub(crate) fn excuse(&mut self) {
        self.counts = false;
    }

    /// Gives the place back without a word about how it went.
    pub(crate) fn abstain(mut self) {
        self.excuse();
    }

    /// The same, unless it took so long that this tells enough.
    pub(crate) fn abstain_unless_late(mut self) {
        if self.begun.elapsed().saturating_sub(self.left_out) <= self.window.late {
            self.excuse();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counts {
            self.window.finished(self.begun, self.begun.elapsed().saturating_sub(self.left_out));
        }
        self.permits_back();
    }
}

impl Place {
    fn permits_back(&mut self) {
        self.permit.take().into_iter().for_each(|permit| self.window.give_back(permit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_secs(8);

    fn window() -> Arc<Window> {
        Window::new(Bounds { least: 4, first: 32, most: 256, late: LATE })
    }

    /// Somebody who does one piece after the other, each in so much time, out of a backlog without end.
    async fn work(window: &Arc<Window>, each: Duration, time: Duration) {
        let line = Arc::new(Semaphore::new(1));
        let begun = Instant::now();
        let mut working = futures::stream::FuturesUnordered::new();
        while begun.elapsed() < time {
            tokio::select! {
                biased;
                Some(()) = futures::StreamExt::next(&mut working) => {}
                mut room = window.room(32) => while let Some(place) = room.take() {
                    let line = &line;
                    working.push(async move {
                        let _turn = line.acquire().await.unwrap();
                        tokio::time::sleep(each).await;
                        drop(place);
                    });
                },
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_as_wide_as_what_is_done_in_time() {
        for (per_second, seconds, widths) in [(1000, 2, 256..=256), (10, 60, 32..=80), (2, 120, 8..=16), (1, 120, 4..=8)] {
            let window = window();
            work(&window, Duration::from_secs(1) / per_second, Duration::from_secs(seconds)).await;
            assert!(widths.contains(&window.width()), "{per_second} a second: {}", window.width());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_whoever_gets_slower_and_faster() {
        let window = window();
        for (per_second, seconds, widths) in [(1000, 2, 256..=256), (2, 300, 8..=16), (20, 100, 80..=160), (1, 300, 4..=8)] {
            work(&window, Duration::from_secs(1) / per_second, Duration::from_secs(seconds)).await;
            assert!(widths.contains(&window.width()), "{per_second} a second: {}", window.width());
        }
        let surplus = window.state().surplus;
        assert_eq!(window.places.available_permits() - surplus, window.width(), "none is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_as_wide_as_it_was_fixed_at_last() {
        let window = Window::new(Bounds::fixed(8));
        let mut taken = window.room(8).await;
        window.fix_at(2);
        assert_eq!((window.width(), window.is_full()), (2, true));
        drop(taken.take());
        assert!(window.try_enter().is_none(), "what was taken above that vanishes");
        window.fix_at(5);
        assert!(window.try_enter().is_none());
        drop(taken);
        let places: Vec<_> = std::iter::from_fn(|| window.try_enter()).collect();
        assert_eq!(places.len(), 5);
        drop(places);
        assert_eq!((window.width(), window.places.available_permits(), window.state().surplus), (5, 5, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_where_little_is_done_and_where_few_hang() {
        let window = window();
        for _ in 0..100 {
            drop(window.enter().await);
        }
        assert_eq!(window.width(), 32, "nobody waited");
        let hanging = window.enter().await;
        for _ in 0..100 {
            let place = window.enter().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(place);
        }
        drop(hanging);
        assert_eq!(window.width(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn what_abstains_or_is_left_out_is_not_late() {
        let window = window();
        for n in 0..100 {
            let mut place = window.enter().await;
            tokio::time::sleep(LATE * 2).await;
            if n % 2 == 0 {
                place.leave_out(LATE * 2);
            } else {
                place.abstain();
            }
        }
        assert_eq!((window.width(), window.places.available_permits()), (32, 32));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_widened_for_what_goes_on_beside_something_that_hangs() {
        let window = window();
        let hanging = window.room(32).await;
        window.widen_to(hanging.places() + 32);
        assert_eq!((window.width(), window.places.available_permits()), (64, 32));
        window.widen_to(10);
        window.widen_to(1000);
        assert_eq!((window.width(), window.places.available_permits()), (256, 224));
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_taken_vanish_when_they_become_free() {
        let window = window();
        let mut room = window.room(32).await;
        let mut taken: Vec<_> = std::iter::from_fn(|| room.take()).collect();
        assert_eq!((taken.len(), room.places()), (32, 0));
        tokio::time::sleep(LATE * 2).await;
        drop(taken.split_off(31));
        assert_eq!((window.width(), window.state().surplus, window.places.available_permits()), (16, 15, 0));
        drop(taken.split_off(16));
        assert_eq!((window.width(), window.state().surplus, window.places.available_permits()), (16, 0, 0));
        drop(taken);
        assert_eq!(window.places.available_permits(), 16);
    }
}
