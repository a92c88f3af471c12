//! The context of a span, in the form of W3C Trace Context: what messages and rows carry.

use crate::model::TraceContext;

/// The longest list of vendors' values that is carried, as in .NET.
const STATE_MAX: usize = 513;
/// The flag that says that the spans of a trace are recorded.
const SAMPLED: u8 = 1;

/// Which span of which trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) flags: u8,
    /// What vendors keep beside it, passed on as it came.
    pub(crate) state: Option<String>,
}

impl SpanContext {
    /// Reads `00-{trace}-{span}-{flags}`. Nothing if it is not sound.
    pub(crate) fn parse(text: &str, state: Option<&str>) -> Option<Self> {
        let parts: Vec<_> = text.split('-').collect();
        let ["00", trace, span, flags] = parts[..] else { return None };
        let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !(is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = Self::span_id_of(span)?;
        let state = state.filter(|state| !state.is_empty() && state.len() <= STATE_MAX).map(str::to_owned);
        Some(Self { trace_id, span_id, flags: u8::from_str_radix(flags, 16).ok()?, state })
    }

    /// The id of a span, as rows have it; zero is none.
    pub(crate) fn span_id_of(text: &str) -> Option<u64> {
        u64::from_str_radix(text, 16).ok().filter(|id| *id != 0)
    }

    /// What a message or a row carries.
    pub(crate) fn of(carried: &TraceContext) -> Option<Self> {
        Self::parse(carried.trace_parent.as_deref()?, carried.trace_state.as_deref())
    }

    /// Another span of the same trace.
    pub(crate) fn with(&self, span_id: u64) -> Self {
        Self { span_id, ..self.clone() }
    }

    /// Whether the spans of the trace are recorded.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of `traceparent`.
    pub(crate) fn text(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// The id of the span, as rows have it.
    pub(crate) fn span_text(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// The same as messages carry it: as the parent of what they lead to.
    pub(crate) fn carried(&self) -> TraceContext {
        TraceContext { trace_parent: Some(self.text()), trace_state: self.state.clone(), ..TraceContext::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_sound_is_no_context() {
        let sound = "00-72958deb2e90ba8b034eef0d14dd4061-9f3f27f1ac892d20-01";
        let read = SpanContext::parse(sound, Some("a=b")).unwrap();
        assert_eq!((read.text().as_str(), read.span_text().as_str(), read.is_sampled()), (sound, "9f3f27f1ac892d20", true));
        assert_eq!(SpanContext::parse(sound, Some(&"x".repeat(514))).unwrap().state, None);
        for bad in [
            "",
            "00-72958deb2e90ba8b034eef0d14dd4061-9f3f27f1ac892d20",
            "01-72958deb2e90ba8b034eef0d14dd4061-9f3f27f1ac892d20-01",
            "00-72958DEB2e90ba8b034eef0d14dd4061-9f3f27f1ac892d20-01",
            "00-00000000000000000000000000000000-9f3f27f1ac892d20-01",
            "00-72958deb2e90ba8b034eef0d14dd4061-0000000000000000-01",
            "00-72958deb2e90ba8b034eef0d14dd4061-9f3f27f1ac892d20-01-x",
        ] {
            assert_eq!(SpanContext::parse(bad, None), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_carried_is_read_again(trace_id in 1_u128.., span_id in 1_u64.., flags: u8, state in "[a-z]{0,4}") {
            let state = Some(state).filter(|state| !state.is_empty());
            let context = SpanContext { trace_id, span_id, flags, state };
            prop_assert_eq!(SpanContext::of(&context.carried()), Some(context));
        }
    }
}
