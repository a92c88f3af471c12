//! How many workers a hub needs for what waits in its queues.

use crate::client::QueueLengths;

/// The most partitions that a hub has.
const PARTITIONS_MAX: usize = 16;

/// What one worker takes on at once, by which a hub needs more or fewer of them:
///
/// * Partitions without a message need no worker. The others are given to as few as can be: one worker after the other gets as many partitions as
///   fit into what it takes on, where a partition counts as no more than that. More workers than partitions would have nothing to do.
/// * Beside them, one worker for each so many work items as one takes on.
///
/// That is the rule of the KEDA scaler for DurableTask.AzureStorage (`wsugarman/durabletask-azurestorage-scaler`). Messages count that are hidden, too:
/// an instance that waits for a timer keeps one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub(super) activities: u32,
    pub(super) orchestrations: u32,
}

impl Capacity {
    /// So many activities, and so many messages of orchestrations; one where it is zero. The default is ten and five.
    #[must_use]
    pub fn new(activities: u32, orchestrations: u32) -> Self {
        Self { activities: activities.max(1), orchestrations: orchestrations.max(1) }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self { activities: 10, orchestrations: 5 }
    }
}

impl Capacity {
    /// What is told as the metric: work items, and as many more as the workers for the orchestrations could take on. Its target is what one worker
    /// takes on.
    #[must_use]
    pub fn load(self, queues: &QueueLengths) -> u64 {
        let for_orchestrations = self.workers_for_orchestrations(queues).saturating_mul(u64::from(self.activities));
        queues.work_items.saturating_add(for_orchestrations)
    }

    /// How many workers of this capacity a hub with these queues needs.
    ///
    /// ```
    /// use taskhub::QueueLengths;
    /// use taskhub::scaler::Capacity;
    ///
    /// // Two for the partitions, of which the third fills a worker, and three for the activities.
    /// assert_eq!(Capacity::new(10, 5).workers(&QueueLengths::new([3, 2, 9, 0], 25)), 5);
    /// ```
    #[must_use]
    pub fn workers(self, queues: &QueueLengths) -> u64 {
        self.load(queues).div_ceil(u64::from(self.activities))
    }

    fn workers_for_orchestrations(self, queues: &QueueLengths) -> u64 {
        let room = usize::try_from(self.orchestrations).unwrap_or(usize::MAX);
        let load = |messages: &u64| usize::try_from(*messages).unwrap_or(usize::MAX).min(room);
        let mut left: Vec<usize> = queues.control.iter().map(load).filter(|load| *load > 0).take(PARTITIONS_MAX).collect();
        let mut workers = 0;
        while !left.is_empty() {
            let taken = most_that_fit(&left, room);
            left = left.into_iter().enumerate().filter(|(at, _)| taken & 1 << at == 0).map(|(_, load)| load).collect();
            workers += 1;
        }
        workers
    }
}

/// Which of the loads, as bits, are the most that fit into the room; where several choices are as many, the one of the earlier loads. Each load fits.
fn most_that_fit(loads: &[usize], room: usize) -> u32 {
    // More room than all of them need makes no difference.
    let room = room.min(loads.iter().sum());
    let mut best = vec![0_u32; room + 1];
    for (at, load) in loads.iter().enumerate() {
        for room in (*load..=room).rev() {
            let with = best[room - load] | 1 << at;
            if with.count_ones() > best[room].count_ones() {
                best[room] = with;
            }
        }
    }
    best[room]
}
