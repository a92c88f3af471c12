//! The names of a hub's queues, tables, containers and blobs (docs/storage-layout.md, Names).

/// The longest hub name: with `-largemessages` behind it, a container name of 63 characters.
const HUB_NAME_MAX: usize = 49;
/// The info blob of the blob lease manager, in the lease container.
pub(crate) const HUB_INFO_BLOB: &str = "taskhub.json";

/// Every name of a hub. Queues, containers and blobs are lower-case; tables keep the case of the hub's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// As the user gave it.
    pub(crate) hub: String,
    pub(crate) work_items: String,
    pub(crate) history: String,
    pub(crate) instances: String,
    pub(crate) partitions: String,
    pub(crate) large_messages: String,
    /// The lease container of the blob lease manager.
    pub(crate) leases: String,
    /// The container whose own lease is the app lease.
    pub(crate) app_lease: String,
    pub(crate) app_lease_info: String,
    /// Of taskhub only: parked messages.
    pub(crate) poison: String,
    /// Of taskhub only: code that messages wait for.
    pub(crate) awaited: String,
    lower: String,
}

/// A hub name that Azure Storage cannot take as part of queue, table and container names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHubName {
    #[error("the task hub name is empty")]
    Empty,
    #[error("task hub name \"{name}\" has {length} characters; at most {HUB_NAME_MAX} fit the names of its containers")]
    TooLong { name: String, length: usize },
    #[error("task hub name \"{name}\" begins with '{found}'; table names must begin with an ASCII letter")]
    FirstLetter { name: String, found: char },
    #[error("task hub name \"{name}\" contains '{found}'; table names allow only ASCII letters and digits")]
    Character { name: String, found: char },
}

impl Names {
    /// All names of a hub.
    pub(crate) fn new(hub: &str) -> Result<Self, BadHubName> {
        check(hub)?;
        let lower = hub.to_ascii_lowercase();
        Ok(Self {
            hub: hub.to_owned(),
            work_items: format!("{lower}-workitems"),
            history: format!("{hub}History"),
            instances: format!("{hub}Instances"),
            partitions: format!("{hub}Partitions"),
            large_messages: format!("{lower}-largemessages"),
            leases: format!("{lower}-leases"),
            app_lease: format!("{lower}-applease"),
            app_lease_info: format!("{lower}-appleaseinfo"),
            poison: format!("{hub}Poison"),
            awaited: format!("{hub}Awaited"),
            lower,
        })
    }

    /// The queue of a partition.
    pub(crate) fn control_queue(&self, partition: u32) -> String {
        format!("{}-control-{partition:02}", self.lower)
    }
}

fn check(name: &str) -> Result<(), BadHubName> {
    let Some(first) = name.chars().next() else { return Err(BadHubName::Empty) };
    let length = name.chars().count();
    if length > HUB_NAME_MAX {
        let name = name.chars().take(HUB_NAME_MAX).chain(['…']).collect();
        return Err(BadHubName::TooLong { name, length });
    }
    if let Some(found) = name.chars().find(|c| !c.is_ascii_alphanumeric()) {
        return Err(BadHubName::Character { name: name.to_owned(), found });
    }
    if !first.is_ascii_alphabetic() {
        return Err(BadHubName::FirstLetter { name: name.to_owned(), found: first });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dotnet() {
        let names = Names::new("MyHub").unwrap();
        assert_eq!(names.control_queue(3), "myhub-control-03");
        assert_eq!(names.control_queue(15), "myhub-control-15");
        assert_eq!(names.work_items, "myhub-workitems");
        assert_eq!(
            (&*names.history, &*names.instances, &*names.partitions),
            ("MyHubHistory", "MyHubInstances", "MyHubPartitions")
        );
        assert_eq!((&*names.large_messages, &*names.leases), ("myhub-largemessages", "myhub-leases"));
        assert_eq!((&*names.app_lease, &*names.app_lease_info), ("myhub-applease", "myhub-appleaseinfo"));
    }

    #[test]
    fn what_storage_would_refuse_is_refused_with_the_reason() {
        assert_eq!(Names::new(""), Err(BadHubName::Empty));
        for (name, reason) in [("my-hub", "contains '-'"), ("1hub", "begins with '1'"), ("hüb", "contains 'ü'")] {
            let error = Names::new(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Names::new(&"h".repeat(HUB_NAME_MAX)).is_ok());
        let error = Names::new(&"h".repeat(HUB_NAME_MAX + 1)).unwrap_err().to_string();
        assert!(error.contains("50 characters"), "{error}");
    }
}
