//! Why a message is deleted although no turn has applied it.

use std::fmt;

/// Why a message has no effect any more. The log names it, under `reason` by [`label`](Self::label).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DropReason {
    /// It is addressed to an execution that a later one has replaced.
    EarlierExecution,
    /// The execution for which it came has ended, and another has been asked for.
    ExecutionEnded,
    InstanceEnded,
    TaskComplete,
    /// It answers a decision of a turn that was never committed, and that was made otherwise since.
    OtherDecision,
    AppliedAlready,
    NotForOrchestrations,
    StartRepeated,
    EndedBeforeStart,
    /// The instance row belongs to another start.
    OtherStart,
    RowMissing,
    RowOfOtherExecution,
    /// The decision that it answers, or that asked for it, is nowhere in a history, and cannot be committed any more.
    NeverCommitted,
    NoInstance,
    IdInUse,
    /// It was sent behind an earlier call of the id than the one for which the instance runs.
    EarlierCall,
    /// Another call of the same parent, made later, has the instance id.
    LaterCall,
    ParentDoesNotWait,
    ParentContinued,
    /// A rewind has taken back the failure that it tells of.
    TakenBack,
    /// It ends the children of another instance.
    OtherParent,
    /// A copy, whose body went with the other copy.
    CopyForEndedInstance,
}

impl DropReason {
    /// The same for machines.
    pub(crate) fn label(self) -> &'static str {
        self.texts().0
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::EarlierExecution => ("earlier_execution", "it is for an earlier execution"),
            Self::ExecutionEnded => ("execution_ended", "the execution has ended"),
            Self::InstanceEnded => ("instance_ended", "the instance has ended"),
            Self::TaskComplete => ("task_complete", "the task is complete already"),
            Self::OtherDecision => ("other_decision", "it answers a decision that was never committed"),
            Self::AppliedAlready => ("applied_already", "it was applied already"),
            Self::NotForOrchestrations => ("not_for_orchestrations", "such an event is not for an orchestration"),
            Self::StartRepeated => ("start_repeated", "the start is a repeat"),
            Self::EndedBeforeStart => ("ended_before_start", "the instance ended before it started"),
            Self::OtherStart => ("other_start", "another start owns the instance row"),
            Self::RowMissing => ("row_missing", "its instance row is missing"),
            Self::RowOfOtherExecution => ("row_of_other_execution", "the instance row is of another execution"),
            Self::NeverCommitted => ("never_committed", "its decision was never committed"),
            Self::NoInstance => ("no_instance", "there is no such instance"),
            Self::IdInUse => ("id_in_use", "its instance id is in use"),
            Self::EarlierCall => ("earlier_call", "it is for an earlier call of its sender"),
            Self::LaterCall => ("later_call", "a later call of its parent has its id"),
            Self::ParentDoesNotWait => ("parent_does_not_wait", "its parent does not wait for it"),
            Self::ParentContinued => ("parent_continued", "its parent has continued as new"),
            Self::TakenBack => ("taken_back", "a rewind has taken back what it tells of"),
            Self::OtherParent => ("other_parent", "it is for a sub-orchestration of another instance"),
            Self::CopyForEndedInstance => ("copy_for_ended_instance", "a copy whose instance has ended"),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.texts().1)
    }
}
