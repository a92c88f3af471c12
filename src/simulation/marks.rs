//! What the seeds of a test run must come to, so that what they show cannot wither: rare branches, each kind of fault.

use std::collections::BTreeMap;

/// Log messages of the engine, and marks of the simulation.
const MUST_BE_HIT: [&str; 63] = [
    // The checkpoint and its crash points.
    "a message was sent again",
    "a turn goes on with the answers of local activities",
    "calls of local activities become ordinary ones",
    "an activity goes on that was begun inside its turn",
    "torn checkpoint",
    "rows of an interrupted checkpoint are ignored",
    "the sentinel says that a transaction without an answer is stored",
    "another worker committed first; the messages go back",
    "the partition was lost during the turn; its messages go back",
    "the lease ran out during the checkpoint; its row is left to the next owner",
    "the instance row lags behind its history and is repaired",
    "the sentinel moved, so that no slow writer can commit",
    "a blob of a checkpoint that was cut off is removed",
    // Verdicts on messages.
    "message dropped: the start is a repeat",
    "message dropped: another start owns the instance row",
    "message dropped: it is for an earlier execution",
    "message dropped: the instance has ended",
    "message dropped: the task is complete already",
    "message dropped: it answers a decision that was never committed",
    "message dropped: it was applied already",
    "message dropped: its decision was never committed",
    "a message is early and waits for its decision",
    "an event of a shared child",
    // Code that is not here.
    "a message waits for a worker that has its code",
    // Messages in memory.
    "a held message was received by somebody else",
    "a held message could not be renewed",
    "a message could not be handed back",
    "a turn failed",
    "an activity could not be run or answered",
    "a work item could not be deleted and will run again",
    // Ownership.
    "partition owned",
    "partition lost",
    "partition released",
    "handing over a partition",
    "the lease of another worker had expired",
    "turns are still open after the drain; they are dropped",
    "a pass over a lost partition was dropped",
    "the app lease was lost; another app may work",
    "not everything could be handed back in time",
    // Faults.
    "fault delay_before",
    "fault delay_after",
    "fault refused",
    "fault lost_reply",
    "fault late",
    "a late write took effect",
    "a late message arrived",
    "fault duplicate_put",
    "fault outage",
    "fault conflict",
    "fault denied",
    "fault expiry",
    "fault stall",
    "fault stall in a commit",
    "fault stop",
    "fault upgrade",
    "fault missing code",
    "crash at a random moment",
    "crash at queue.put",
    "crash at table.transact",
    "crash at queue.delete",
    "peer takes a partition",
    "peer asks for a partition",
    "peer holds messages",
];

/// Marks that no run made.
pub(super) fn missed(marks: &BTreeMap<String, u64>) -> Vec<&'static str> {
    MUST_BE_HIT.into_iter().filter(|mark| !marks.contains_key(*mark)).collect()
}
