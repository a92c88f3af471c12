//! Rules that tests break on purpose, to show that the simulation would notice; in production nothing is ever broken.

/// A rule, named by what happens without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sabotage {
    #[cfg(test)]
    HistoryBeforeMessages,
    #[cfg(test)]
    InputsBeforeHistory,
    #[cfg(test)]
    InputsBeforeRow,
    RowVersionIgnored,
    SentinelUnchecked,
    AnyCommitTakenForOurs,
    RowNotRepaired,
    DecisionIgnored,
    AnswersOfOnePassDoubled,
    IdentityIgnored,
    AppliedForgotten,
    SupersededForgotten,
    RepeatedStartTaken,
    EarlyDropped,
    TimerBeforeItsTime,
    CarriedEventsLost,
    CarriedEventsReversed,
    HolderReplaced,
    WakerForgotten,
    PayloadsKept,
    OwnMessagesForgotten,
    HistoriesKeptAsTheyWere,
    UpdatesNeverShown,
    LocalAnswersDoubled,
    LocalCallsForgotten,
    KeptExecutionMissesEvents,
    OwnIdsTakenForFree,
}

#[cfg(not(test))]
pub(crate) const fn is(_: Sabotage) -> bool {
    false
}

#[cfg(test)]
pub(crate) use chosen::{ALL, is, set};

#[cfg(test)]
mod chosen {
    use std::cell::Cell;

    use super::Sabotage::{self, *};

    pub(crate) const ALL: [Sabotage; 27] = [
        HistoryBeforeMessages,
        InputsBeforeHistory,
        InputsBeforeRow,
        RowVersionIgnored,
        SentinelUnchecked,
        AnyCommitTakenForOurs,
        RowNotRepaired,
        DecisionIgnored,
        AnswersOfOnePassDoubled,
        IdentityIgnored,
        AppliedForgotten,
        SupersededForgotten,
        RepeatedStartTaken,
        EarlyDropped,
        TimerBeforeItsTime,
        CarriedEventsLost,
        CarriedEventsReversed,
        HolderReplaced,
        WakerForgotten,
        PayloadsKept,
        OwnMessagesForgotten,
        HistoriesKeptAsTheyWere,
        UpdatesNeverShown,
        LocalAnswersDoubled,
        LocalCallsForgotten,
        KeptExecutionMissesEvents,
        OwnIdsTakenForFree,
    ];

    thread_local! {
        // A simulated run has a thread to itself.
        static CHOSEN: Cell<Option<Sabotage>> = const { Cell::new(None) };
    }

    /// Breaks one rule, or none, in this thread from now on.
    pub(crate) fn set(sabotage: Option<Sabotage>) {
        CHOSEN.set(sabotage);
    }

    pub(crate) fn is(sabotage: Sabotage) -> bool {
        CHOSEN.get() == Some(sabotage)
    }
}
