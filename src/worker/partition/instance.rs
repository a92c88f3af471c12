//! One room for all that this worker has of an instance of a partition it owns, and the one rule by which rooms are given up.

use std::collections::BTreeMap;

use super::mailbox::Mailbox;
use crate::hub::instances::Shown;
use crate::model::Timestamp;
use crate::storage::table::Etag;
use crate::worker::loaded::Loaded;
use crate::worker::runaway::Pace;

/// What rooms in which nothing happens may take up beside the histories in them.
const IDLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// About what a room takes up beside the id of its instance.
const ROOM_BYTES: usize = 512;

/// An instance, as far as this worker knows it.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) mailbox: Mailbox,
    pub(super) row: Option<SeenRow>,
    /// The time of the last update that the row does not show yet.
    pub(super) unshown: Option<Timestamp>,
    /// The history that the last commit of this worker has left.
    history: Option<Loaded>,
    /// How fast it continues as new.
    pub(super) pace: Option<Pace>,
    /// Grows with every use of any room.
    used: u64,
}

/// The row of an instance as it was seen last, so that a write replaces what was seen and nothing else.
#[derive(Debug)]
pub(crate) struct SeenRow {
    pub(crate) version: Etag,
    /// What it shows, if this worker has written it.
    pub(crate) shown: Option<Shown>,
}

impl Instance {
    /// Whether nothing happens in it, and nothing is to be done.
    fn is_idle(&self) -> bool {
        self.mailbox.is_idle() && self.unshown.is_none()
    }
}

/// The instances of a partition.
#[derive(Debug)]
pub(super) struct Instances {
    rooms: BTreeMap<String, Instance>,
    /// What the rooms take up, without the histories in them.
    bytes: usize,
    /// Rooms are given up when they take up more.
    bytes_max: usize,
    histories: HistoryBytes,
    /// The instance whose history takes up more than all may, and is kept beside the others.
    large: Option<String>,
    uses: u64,
    /// How many instances a task works on.
    served: usize,
}

/// What the histories in all rooms take up, but for a large one.
#[derive(Debug)]
struct HistoryBytes {
    now: usize,
    max: usize,
}

/// A history that takes up more than all may together is kept beside them, one in each partition, if it takes up no more than so many times as much: it is in
/// memory in every turn anyway, and to read it in each would take ever longer.
const LARGE_TIMES_MAX: usize = 16;

impl HistoryBytes {
    /// What a large one may take up.
    fn large_max(&self) -> usize {
        self.max.saturating_mul(LARGE_TIMES_MAX)
    }
}

impl Instances {
    /// No rooms; the histories in them may take up so much.
    pub(super) fn new(history_bytes_max: usize) -> Self {
        let histories = HistoryBytes { now: 0, max: history_bytes_max };
        Self { rooms: BTreeMap::new(), bytes: 0, bytes_max: IDLE_BYTES_MAX, histories, large: None, uses: 0, served: 0 }
    }

    /// The histories may take up so much from now on; what they take up above that goes as others come, but for a large one, which goes now.
    pub(super) fn may_keep(&mut self, history_bytes_max: usize) {
        self.histories.max = history_bytes_max;
        self.forget_large_above(self.histories.large_max());
    }

    /// The room of an instance, which is made if there is none.
    pub(super) fn enter(&mut self, instance_id: &str) -> &mut Instance {
        if !self.rooms.contains_key(instance_id) {
            self.bytes += ROOM_BYTES + instance_id.len();
            self.make_room();
            self.rooms.insert(instance_id.to_owned(), Instance::default());
        }
        self.uses += 1;
        let room = self.rooms.get_mut(instance_id).expect("it has just been made");
        room.used = self.uses;
        room
    }

    /// The room of an instance, if there is one.
    pub(super) fn get(&mut self, instance_id: &str) -> Option<&mut Instance> {
        self.rooms.get_mut(instance_id)
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.rooms.values_mut()
    }

    /// How many instances a task works on.
    pub(super) fn served(&mut self) -> &mut usize {
        &mut self.served
    }

    /// Takes the history out of the room of an instance.
    pub(super) fn take_history(&mut self, instance_id: &str) -> Option<Loaded> {
        let history = self.rooms.get_mut(instance_id)?.history.take()?;
        if self.large.as_deref() == Some(instance_id) {
            self.large = None;
        } else {
            self.histories.now -= history.size();
        }
        Some(history)
    }

    /// Keeps the history of an instance, unless it takes up too much. Those that were used longest ago give way to it.
    pub(super) fn keep_history(&mut self, instance_id: &str, history: Loaded) {
        drop(self.take_history(instance_id));
        if history.size() > self.histories.max {
            return self.keep_large(instance_id, history);
        }
        self.histories.now += history.size();
        self.enter(instance_id).history = Some(history);
        if self.histories.now > self.histories.max {
            self.forget_histories(instance_id);
        }
    }

    /// Keeps a history that takes up more than all may, in the place of another such.
    fn keep_large(&mut self, instance_id: &str, history: Loaded) {
        if history.size() > self.histories.large_max() {
            return;
        }
        self.forget_large_above(0);
        self.enter(instance_id).history = Some(history);
        self.large = Some(instance_id.to_owned());
    }

    /// Gives up the large history, if it takes up more than this.
    fn forget_large_above(&mut self, bytes: usize) {
        let Some(large) = self.large.clone() else { return };
        if self.rooms.get(&large).and_then(|room| room.history.as_ref()).is_some_and(|history| history.size() > bytes) {
            drop(self.take_history(&large));
        }
    }

    /// Gives up histories but this one, those that were used longest ago first, down to half of what they may take up, so that it is not
    /// done for each new one.
    fn forget_histories(&mut self, but: &str) {
        let stays = |id: &String| id == but || self.large.as_ref() == Some(id);
        let mut kept: Vec<_> = self.rooms.iter_mut().filter(|(id, room)| room.history.is_some() && !stays(id)).collect();
        kept.sort_unstable_by_key(|(_, room)| room.used);
        for (_, room) in kept {
            if self.histories.now <= self.histories.max / 2 {
                break;
            }
            self.histories.now -= room.history.take().map_or(0, |history| history.size());
        }
    }

    /// Gives up rooms that are idle, those that were used longest ago first, down to half of what they may take up. What they
    /// had is read again when it is needed.
    fn make_room(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let idle = self.rooms.iter().filter(|(_, room)| room.is_idle());
        let mut idle: Vec<_> = idle.map(|(instance_id, room)| (room.used, instance_id.clone())).collect();
        idle.sort_unstable();
        for (_, instance_id) in idle {
            if self.bytes <= IDLE_BYTES_MAX / 2 {
                break;
            }
            drop(self.take_history(&instance_id));
            self.rooms.remove(&instance_id);
            self.bytes -= ROOM_BYTES + instance_id.len();
        }
        // Rooms that are in use may take up more; then it is not worth looking before there are many new ones.
        self.bytes_max = IDLE_BYTES_MAX.max(self.bytes * 2);
    }
}
