//! Which names the services take for tables, queues, containers and blobs.

use super::Refusal;
use crate::storage::blob::name_kept;
use crate::storage::error::ErrorKind;

const BAD_NAME: Refusal = Refusal(ErrorKind::Invalid, 400, "InvalidResourceName");
const BAD_LENGTH: Refusal = Refusal(ErrorKind::Invalid, 400, "OutOfRangeInput");
const BAD_URI: Refusal = Refusal(ErrorKind::Invalid, 400, "InvalidUri");

/// Letters and digits, a letter first. Two names that differ only by case are the same table.
pub(super) fn check_table(name: &str) -> Result<(), Refusal> {
    check_length(name)?;
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_reserved = name.eq_ignore_ascii_case("tables");
    if begins && !is_reserved && name.chars().all(|c| c.is_ascii_alphanumeric()) { Ok(()) } else { Err(BAD_NAME) }
}

/// Queues and containers: lower-case letters, digits and single hyphens between them.
pub(super) fn check_dns(name: &str) -> Result<(), Refusal> {
    check_length(name)?;
    let allowed = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let hyphens = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if allowed && !hyphens { Ok(()) } else { Err(BAD_NAME) }
}

/// The name under which the service keeps a blob.
pub(super) fn kept_blob(name: &str) -> Result<String, Refusal> {
    name_kept(name).map_err(|_| BAD_URI)
}

fn check_length(name: &str) -> Result<(), Refusal> {
    if (3..=63).contains(&name.chars().count()) { Ok(()) } else { Err(BAD_LENGTH) }
}
