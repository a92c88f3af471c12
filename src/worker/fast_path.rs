//! Which short cuts a worker takes. The plain path is correct alone and is what every short cut falls back to; tests switch each of them off.

/// The short cuts that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FastPath {
    /// The history that a commit leaves is kept, and not read again for the next turn.
    pub(crate) keeps_histories: bool,
    /// The execution itself stays in memory between turns, and goes through nothing again.
    pub(crate) keeps_executions: bool,
    /// A start that comes for the first time is taken to be that of a new instance, whose history is not read.
    pub(crate) assumes_new: bool,
    /// What is sent to a queue that is read in this process is hidden there and goes to its reader at once.
    pub(crate) holds_own_messages: bool,
    /// A timer fires from memory; its message is there in case that the process ends before.
    pub(crate) holds_timers: bool,
    /// The answer to a call that has run here goes into the history without a message, if its instance is worked on here.
    pub(crate) fuses_answers: bool,
    /// An instance row that lacks nothing but the time of the last update is written a little later.
    pub(crate) coalesces_rows: bool,
    /// An instance does not wait for the deletion of what its last turn has applied.
    pub(crate) deletes_beside: bool,
    /// Partitions are leased for a shorter time while there is much to do, and requests of others for them are seen sooner.
    pub(crate) leases_briefly: bool,
    /// Local activities run inside the turn. Without it their calls are ordinary ones.
    pub(crate) runs_local: bool,
}

impl Default for FastPath {
    fn default() -> Self {
        Self {
            keeps_histories: true,
            keeps_executions: true,
            assumes_new: true,
            holds_own_messages: true,
            holds_timers: true,
            fuses_answers: true,
            coalesces_rows: true,
            deletes_beside: true,
            leases_briefly: true,
            runs_local: true,
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl FastPath {
    /// None of them.
    pub(crate) const NONE: Self = Self {
        keeps_histories: false,
        keeps_executions: false,
        assumes_new: false,
        holds_own_messages: false,
        holds_timers: false,
        fuses_answers: false,
        coalesces_rows: false,
        deletes_beside: false,
        leases_briefly: false,
        runs_local: false,
    };
}

#[cfg(test)]
impl FastPath {
    /// Each of them or not.
    pub(crate) fn some(rng: &crate::rng::Rng) -> Self {
        let some = || rng.chance(0.75);
        Self {
            keeps_histories: some(),
            keeps_executions: some(),
            assumes_new: some(),
            holds_own_messages: some(),
            holds_timers: some(),
            fuses_answers: some(),
            coalesces_rows: some(),
            deletes_beside: some(),
            leases_briefly: some(),
            runs_local: some(),
        }
    }
}
