//! Settings of a worker: plain data, with the provider's defaults where it has them.

use std::time::Duration;

use super::fast_path::FastPath;
use super::patience::Patience;
use super::sightings::REFRESH;
use crate::storage::queue::RECEIVE_MAX;
#[cfg(feature = "testing")]
use crate::storage::queue::VISIBILITY_MAX;
use crate::window::Bounds;

/// The least of a queue that a worker may have in memory, however slow storage is.
const PLACES_LEAST: usize = 4;

/// How a worker behaves. Times that concern other workers of the hub keep .NET's values.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Orchestrations in a turn at once, shared evenly by the partitions that it owns.
    pub(crate) turns: usize,
    /// Activities at once.
    pub(crate) activities: usize,
    /// Most work items that one receive may bring.
    pub(crate) work_items_a_receive: usize,
    /// Local activities at once; unless set, as many.
    pub(crate) local_activities: Option<usize>,
    /// How long a turn goes on with local activities.
    pub(crate) local_time: Duration,
    /// Most messages of one partition in memory.
    pub(crate) places: usize,
    /// How long a received message stays hidden unless it is renewed. Most are done with long before, and what a crash leaves is not hidden
    /// for much longer than the leases of a busy worker last.
    pub(crate) hold: Duration,
    /// How long it stays hidden once it is renewed; no longer than the lease, so that a crash costs no more.
    pub(crate) renewed_hold: Duration,
    /// The longest pause between two receives from an idle queue, if it was set.
    pub(crate) poll_interval_max: Option<Duration>,
    /// What a partition is leased for.
    pub(crate) lease: Duration,
    pub(crate) lease_renewal: Duration,
    /// The same while it is at rest.
    pub(crate) rest_lease_renewal: Duration,
    /// The same while there is much to do.
    pub(crate) busy_lease: Duration,
    pub(crate) busy_lease_renewal: Duration,
    /// The app under whose lease the worker works; without it, workers of any app work beside each other.
    pub(crate) app_name: Option<String>,
    pub(crate) app_lease: Duration,
    pub(crate) app_lease_renewal: Duration,
    /// How often a waiting app asks for the lease.
    pub(crate) app_lease_retry: Duration,
    /// How much before the end of its lease a worker stops writing, and how much after it others take over.
    pub(crate) lease_margin: Duration,
    /// How often the partition table is read while others own some of it, or written while there is much to do.
    pub(crate) ownership_poll: Duration,
    /// The same while a partition is on its way here.
    pub(crate) handover_poll: Duration,
    /// How long a hand-over waits for open turns.
    pub(crate) drain_timeout: Duration,
    /// How long it waits after that for the messages of dropped turns to go back.
    pub(crate) drop_timeout: Duration,
    /// How long stopping waits for running activities.
    pub(crate) grace: Duration,
    /// How long stopping waits after that for storage to take everything back; longer than a drain.
    pub(crate) hand_back_timeout: Duration,
    /// How often a message is received before it is parked as poison.
    pub(crate) poison_after: u32,
    /// How often what is waited for is written down again.
    pub(crate) refresh: Duration,
    /// How many instances that wait for code, and how many calls, a worker remembers.
    pub(crate) remembered: usize,
    /// Whether history rows have the inputs of calls.
    pub(crate) stores_inputs: bool,
    /// About how much memory histories may take up that are kept between turns, shared evenly by the partitions that it owns.
    pub(crate) history_bytes: usize,
    pub(crate) fast_path: FastPath,
    /// How long messages wait for code; unless set, by whether other processes can share the hub.
    pub(crate) patience: Option<Patience>,
}

/// What a partition may take of what its worker was given, which all partitions that the worker owns have equal parts of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Turns at once.
    pub(crate) turns: usize,
    /// About how much memory the histories may take up that it keeps.
    pub(crate) history_bytes: usize,
}

impl Options {
    /// How many messages of a partition may be in memory: so many that they are worked off well before one is to be renewed.
    pub(crate) fn messages_window(&self) -> Bounds {
        Bounds { least: PLACES_LEAST, first: RECEIVE_MAX, most: self.places, late: self.hold / 4 }
    }

    /// What each of so many partitions may take.
    pub(crate) fn share_of_one_in(&self, partitions: usize) -> Share {
        Share { turns: self.turns.div_ceil(partitions), history_bytes: self.history_bytes / partitions }
    }

    /// How many activities may run: fewer than the worker was told only while storage takes long to be told of their ends.
    pub(crate) fn activities_window(&self) -> Bounds {
        Bounds { least: PLACES_LEAST, first: self.activities, most: self.activities, late: self.hold / 4 }
    }
}

#[cfg(feature = "testing")]
impl Options {
    /// For a worker that is alone on virtual time: as little as can be is done while nothing happens, because years may pass.
    pub(crate) fn on_virtual_time() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            activities: 10_000,
            hold: VISIBILITY_MAX,
            renewed_hold: VISIBILITY_MAX,
            poll_interval_max: Some(day),
            lease: 400 * day,
            lease_renewal: 100 * day,
            rest_lease_renewal: 100 * day,
            refresh: 100 * day,
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            turns: 100,
            activities: 10 * cores,
            work_items_a_receive: RECEIVE_MAX,
            local_activities: None,
            local_time: Duration::from_secs(5),
            places: 256,
            hold: Duration::from_secs(20),
            renewed_hold: Duration::from_secs(30),
            poll_interval_max: None,
            lease: Duration::from_secs(30),
            lease_renewal: Duration::from_secs(10),
            rest_lease_renewal: Duration::from_secs(14),
            busy_lease: Duration::from_secs(15),
            busy_lease_renewal: Duration::from_secs(5),
            app_name: None,
            app_lease: Duration::from_secs(60),
            app_lease_renewal: Duration::from_secs(40),
            app_lease_retry: Duration::from_secs(5),
            lease_margin: Duration::from_secs(5),
            ownership_poll: Duration::from_secs(2),
            handover_poll: Duration::from_millis(250),
            drain_timeout: Duration::from_secs(10),
            drop_timeout: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            hand_back_timeout: Duration::from_secs(15),
            poison_after: 8,
            refresh: REFRESH,
            remembered: 10_000,
            stores_inputs: false,
            history_bytes: 64 << 20,
            fast_path: FastPath::default(),
            patience: None,
        }
    }
}
