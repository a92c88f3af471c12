//! One room for all that this worker has of an instance of a partition it owns, and the one rule by which rooms are given up.

use std::collections::BTreeMap;

use super::mailbox::Mailbox;
use crate::storage::table::Etag;
use crate::worker::runaway::Pace;

/// What rooms in which nothing happens may take up.
const IDLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// About what a room takes up beside the id of its instance.
const ROOM_BYTES: usize = 512;

/// An instance, as far as this worker knows it.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) mailbox: Mailbox,
    /// The version of its row as it was seen last, so that a write replaces what was seen and nothing else.
    pub(super) row: Option<Etag>,
    /// How fast it continues as new.
    pub(super) pace: Option<Pace>,
    /// Grows with every use of any room.
    used: u64,
}

/// The instances of a partition.
#[derive(Debug)]
pub(super) struct Instances {
    rooms: BTreeMap<String, Instance>,
    bytes: usize,
    /// Rooms are given up when they take up more.
    bytes_max: usize,
    uses: u64,
    /// How many instances a task works on.
    served: usize,
}

impl Default for Instances {
    fn default() -> Self {
        Self { rooms: BTreeMap::new(), bytes: 0, bytes_max: IDLE_BYTES_MAX, uses: 0, served: 0 }
    }
}

impl Instances {
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

    /// Gives up rooms that are idle, those that were used longest ago first, down to half of what they may take up. What they
    /// had is read again when it is needed.
    fn make_room(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let idle = self.rooms.iter().filter(|(_, room)| room.mailbox.is_idle());
        let mut idle: Vec<_> = idle.map(|(instance_id, room)| (room.used, instance_id.clone())).collect();
        idle.sort_unstable();
        for (_, instance_id) in idle {
            if self.bytes <= IDLE_BYTES_MAX / 2 {
                break;
            }
            self.rooms.remove(&instance_id);
            self.bytes -= ROOM_BYTES + instance_id.len();
        }
        // Rooms that are in use may take up more; then it is not worth looking before there are many new ones.
        self.bytes_max = IDLE_BYTES_MAX.max(self.bytes * 2);
    }
}
