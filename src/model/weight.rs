//! About how much memory the members of an event take up.

use super::members::MemberWriter;
use super::{ExecutionStarted, FailureDetails, InstanceRef, ParentInstance, RuntimeStatus, Tags, Timestamp, TraceContext};

/// The bytes of the texts that have been written to it, and something for whatever is allocated beside them.
pub(super) struct Weight(pub(super) usize);

impl Weight {
    fn add(&mut self, text: Option<&String>) {
        self.0 += text.map_or(0, String::len);
    }
}

impl MemberWriter for Weight {
    fn event_type(&mut self, name: &'static str) {
        if name == "ExecutionStarted" {
            self.0 += size_of::<ExecutionStarted>();
        }
    }

    fn text(&mut self, _: &'static str, value: Option<&str>) {
        self.0 += value.map_or(0, str::len);
    }

    fn int(&mut self, _: &'static str, _: Option<i32>) {}

    fn flag(&mut self, _: &'static str, _: bool) {}

    fn time(&mut self, _: &'static str, _: Option<Timestamp>) {}

    fn status(&mut self, _: &'static str, _: RuntimeStatus) {}

    fn instance(&mut self, _: &'static str, value: &InstanceRef) {
        self.0 += value.instance_id.len();
        self.add(value.execution_id.as_ref());
    }

    fn parent(&mut self, name: &'static str, value: Option<&ParentInstance>) {
        if let Some(parent) = value {
            self.instance(name, &parent.instance);
            self.add(parent.name.as_ref());
        }
    }

    fn trace(&mut self, _: &'static str, value: Option<&TraceContext>) {
        self.0 += value.map_or(0, |_| size_of::<TraceContext>());
    }

    fn failure(&mut self, _: &'static str, value: Option<&FailureDetails>) {
        let Some(failure) = value else { return };
        for failure in std::iter::successors(Some(failure), |failure| failure.inner.as_deref()) {
            self.0 += size_of::<FailureDetails>() + failure.error_type.len() + failure.error_message.len();
            self.add(failure.stack_trace.as_ref());
        }
    }

    fn tags(&mut self, _: &'static str, value: Option<&Tags>) {
        self.0 += value.map_or(0, |tags| tags.iter().map(|(name, value)| name.len() + value.len()).sum());
    }

    fn json(&mut self, _: &'static str, value: Option<&str>) {
        self.0 += value.map_or(0, str::len);
    }
}
